//! Finds e-mail addresses and numbers that look like payment cards, and puts a word in their place.

use serde_json::Value;

/// What stands in the place of an e-mail address.
pub(crate) const EMAIL: &str = "[e-mail]";
/// What stands in the place of a card number.
pub(crate) const CARD: &str = "[card number]";

/// Masks every message content of a chat request, plain or in parts, and says how many masks were put.
pub(crate) fn request(body: &mut Value) -> usize {
    let messages = body.get_mut("messages").and_then(Value::as_array_mut);
    messages
        .into_iter()
        .flatten()
        .filter_map(|message| message.get_mut("content"))
        .map(content)
        .sum()
}

fn content(content: &mut Value) -> usize {
    match content {
        Value::String(plain) => replace(plain),
        Value::Array(parts) => parts
            .iter_mut()
            .map(|part| match part {
                Value::String(plain) => replace(plain),
                part => part.get_mut("text").map_or(0, |text| match text {
                    Value::String(plain) => replace(plain),
                    _ => 0,
                }),
            })
            .sum(),
        _ => 0,
    }
}

fn replace(plain: &mut String) -> usize {
    let (masked, count) = text(plain);
    if count > 0 {
        *plain = masked;
    }
    count
}

/// Masks `text`, and says how many masks were put. Addresses go first: a card number may be part of one.
pub(crate) fn text(text: &str) -> (String, usize) {
    let (text, addresses) = put(text, first_email, EMAIL);
    let (text, cards) = put(&text, first_card, CARD);
    (text, addresses + cards)
}

/// Puts `word` in the place of everything that `first` finds, in one pass.
fn put(text: &str, first: fn(&str) -> Option<(usize, usize)>, word: &str) -> (String, usize) {
    let mut masked = String::with_capacity(text.len());
    let mut count = 0;
    let mut rest = text;
    while let Some((start, end)) = first(rest) {
        masked.push_str(rest.get(..start).unwrap_or_default());
        masked.push_str(word);
        rest = rest.get(end..).unwrap_or_default();
        count += 1;
    }
    masked.push_str(rest);
    (masked, count)
}

fn first_email(text: &str) -> Option<(usize, usize)> {
    text.match_indices('@').find_map(|(at, _)| {
        let before = text.get(..at)?;
        let local = |letter: char| letter.is_alphanumeric() || "._%+-".contains(letter);
        let name = before.len() - before.trim_end_matches(local).len();
        let after = text.get(at + 1..)?;
        let domain = |letter: char| letter.is_alphanumeric() || ".-".contains(letter);
        let host = after.len() - after.trim_start_matches(domain).len();
        let host = after.get(..host)?.trim_end_matches(['.', '-']);
        let (_, last) = host.rsplit_once('.')?;
        let real = name > 0 && last.chars().count() >= 2 && last.chars().all(char::is_alphabetic);
        real.then_some((at - name, at + 1 + host.len()))
    })
}

/// A run of 13 to 19 digits, in groups with at most one space or hyphen between them, whose check digit
/// is right. A longer run is some other number.
fn first_card(text: &str) -> Option<(usize, usize)> {
    let bytes = text.as_bytes();
    let mut start = 0;
    while let Some(found) = bytes.get(start..)?.iter().position(u8::is_ascii_digit) {
        start += found;
        let mut digits = Vec::new();
        let mut end = start;
        let mut at = start;
        while let Some(byte) = bytes.get(at) {
            if byte.is_ascii_digit() {
                digits.push(byte - b'0');
                end = at + 1;
            } else if !(matches!(byte, b' ' | b'-') && end == at) {
                break;
            }
            at += 1;
        }
        if (13..=19).contains(&digits.len()) && luhn(&digits) {
            return Some((start, end));
        }
        start = end;
    }
    None
}

/// The check of ISO/IEC 7812: every second digit from the right doubled, all digits summed.
fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(index, digit)| match (index % 2, u32::from(*digit)) {
            (0, digit) => digit,
            (_, digit) => digit * 2 / 10 + digit * 2 % 10,
        })
        .sum();
    sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_masked_and_what_only_looks_like_one_is_not() {
        let masked = |plain: &str| text(plain).0;
        assert_eq!(
            masked("write to anna.b+c@example.com."),
            "write to [e-mail]."
        );
        assert_eq!(
            masked("<a@b.example.org>, b@c.de!"),
            "<[e-mail]>, [e-mail]!"
        );
        assert_eq!(masked("müller@bücher.de"), "[e-mail]");
        assert_eq!(masked("a@b.c.info-"), "[e-mail]-");
        for plain in [
            "@home",
            "a @ b.com",
            "a@b",
            "a@b.1",
            "1.5 @ 20 °C",
            "user@",
            "@@",
            "",
        ] {
            assert_eq!(masked(plain), plain);
        }
    }

    #[test]
    fn card_numbers_are_masked_by_their_check_digit() {
        let masked = |plain: &str| text(plain).0;
        assert_eq!(
            masked("card 4111 1111 1111 1111, please"),
            "card [card number], please"
        );
        assert_eq!(masked("5500-0000-0000-0004"), "[card number]");
        assert_eq!(masked("378282246310005"), "[card number]");
        assert_eq!(
            masked("4222222222222 and 6011000990139424"),
            "[card number] and [card number]"
        );
        for plain in [
            "4111 1111 1111 1112",
            "1234567890123",
            "41111111111111111111111",
            "4111  1111  1111  1111",
            "call 0800 123 456",
        ] {
            assert_eq!(masked(plain), plain);
        }
    }

    #[test]
    fn every_content_of_every_message_is_masked_and_nothing_else() {
        let mut body = serde_json::json!({
            "model": "a@b.com", "max_tokens": 5,
            "messages": [
                {"role": "system", "content": "ask x@y.org"},
                {"role": "user", "content": [
                    {"type": "text", "text": "I am z@y.org, 4111111111111111"},
                    {"type": "image_url", "image_url": {"url": "data:,a@b.com"}},
                    "plain w@y.org",
                ]},
                {"role": "assistant", "content": null},
            ],
        });
        assert_eq!(request(&mut body), 4);
        assert_eq!(body["model"], "a@b.com");
        assert_eq!(body["messages"][0]["content"], "ask [e-mail]");
        assert_eq!(
            body["messages"][1]["content"][0]["text"],
            "I am [e-mail], [card number]"
        );
        assert_eq!(
            body["messages"][1]["content"][1]["image_url"]["url"],
            "data:,a@b.com"
        );
        assert_eq!(body["messages"][1]["content"][2], "plain [e-mail]");
        assert_eq!(request(&mut serde_json::json!({"messages": "x@y.org"})), 0);
    }
}
