//! Masks e-mail addresses and payment card numbers in the messages of a chat request.

use serde_json::Value;

/// What stands in place of an e-mail address.
const EMAIL: &str = "[e-mail]";
/// What stands in place of a payment card number.
const CARD: &str = "[card]";

/// Masks every message of `request`: text contents, and the text parts of contents in parts. What is
/// not text is left alone.
pub(crate) fn mask_request(request: &mut Value) {
    let Some(messages) = request.get_mut("messages").and_then(Value::as_array_mut) else {
        return;
    };
    for content in messages
        .iter_mut()
        .filter_map(|message| message.get_mut("content"))
    {
        match content {
            Value::String(text) => *text = mask(text),
            Value::Array(parts) => {
                for part in parts {
                    if let Some(Value::String(text)) = part.get_mut("text") {
                        *text = mask(text);
                    }
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {}
        }
    }
}

/// `text` with e-mail addresses and card numbers masked.
pub(crate) fn mask(text: &str) -> String {
    mask_cards(&mask_emails(text))
}

/// Masks each word of the form `local@domain.tld`. Simple on purpose: it would rather mask too much.
fn mask_emails(text: &str) -> String {
    let in_local = |c: char| c.is_alphanumeric() || "._%+-'".contains(c);
    let in_domain = |c: char| c.is_alphanumeric() || c == '.' || c == '-';
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('@') {
        let local = before.trim_end_matches(in_local);
        let past = after.trim_start_matches(in_domain);
        let domain = after
            .strip_suffix(past)
            .unwrap_or(after)
            .trim_end_matches(['.', '-']);
        let is_address = local.len() < before.len()
            && domain
                .rsplit_once('.')
                .is_some_and(|(name, top)| !name.is_empty() && top.len() >= 2);
        if is_address {
            masked.push_str(local);
            masked.push_str(EMAIL);
            rest = after.strip_prefix(domain).unwrap_or(past);
        } else {
            masked.push_str(before);
            masked.push('@');
            rest = after;
        }
    }
    masked.push_str(rest);
    masked
}

/// Masks each run of 13 to 19 digits, single spaces and dashes between them allowed, whose Luhn check
/// digit is right (ISO/IEC 7812-1 annex B).
fn mask_cards(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut run = String::new();
    for c in text.chars() {
        let separator = (c == ' ' || c == '-') && run.ends_with(|last: char| last.is_ascii_digit());
        if c.is_ascii_digit() || separator {
            run.push(c);
        } else {
            flush(&mut run, &mut masked);
            masked.push(c);
        }
    }
    flush(&mut run, &mut masked);
    masked
}

/// Moves `run` to the end of `masked`, masked when it is a card number.
fn flush(run: &mut String, masked: &mut String) {
    let number = run.trim_end_matches([' ', '-']);
    let digits: Vec<u32> = number.chars().filter_map(|c| c.to_digit(10)).collect();
    if (13..=19).contains(&digits.len()) && luhn(&digits) {
        masked.push_str(CARD);
        masked.push_str(run.strip_prefix(number).unwrap_or_default());
    } else {
        masked.push_str(run);
    }
    run.clear();
}

/// Whether the last of `digits` is the check digit of the others.
fn luhn(digits: &[u32]) -> bool {
    let doubled = |digit: u32| if digit > 4 { digit * 2 - 9 } else { digit * 2 };
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| {
            if place % 2 == 1 {
                doubled(*digit)
            } else {
                *digit
            }
        })
        .sum();
    sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_address_is_masked_wherever_it_stands() {
        assert_eq!(
            mask("write to jo.doe+x@mail.example.org."),
            "write to [e-mail]."
        );
        assert_eq!(mask("<a@b.co>,c@d.example"), "<[e-mail]>,[e-mail]");
        assert_eq!(mask("jörg@exämple.de ok"), "[e-mail] ok");
    }

    #[test]
    fn what_is_no_address_stays() {
        for text in [
            "@home",
            "a@b",
            "a @ b.org",
            "5 @ 3.20",
            "x@.org",
            "@",
            "@@",
            "a@b.",
        ] {
            assert_eq!(mask(text), text);
        }
    }

    #[test]
    fn a_card_number_is_masked_with_or_without_separators() {
        for number in [
            "4111111111111111",
            "4111 1111 1111 1111",
            "3782-822463-10005",
        ] {
            assert_eq!(
                mask(&format!("card {number}, thanks")),
                "card [card], thanks"
            );
        }
    }

    #[test]
    fn a_number_without_a_right_check_digit_stays() {
        for text in [
            "4111111111111112",
            "order 1234567890123",
            "2026-11-21",
            "12 34",
            "7",
        ] {
            assert_eq!(mask(text), text);
        }
    }

    #[test]
    fn every_text_of_every_message_is_masked_and_nothing_else() {
        let mut request = json!({
            "model": "m@1",
            "messages": [
                {"role": "user", "content": "I am a@b.org"},
                {"role": "user", "content": [
                    {"type": "text", "text": "4111111111111111"},
                    {"type": "image_url", "image_url": {"url": "data:"}}
                ]},
                {"role": "user", "content": null}
            ]
        });
        mask_request(&mut request);
        assert_eq!(
            request,
            json!({
                "model": "m@1",
                "messages": [
                    {"role": "user", "content": "I am [e-mail]"},
                    {"role": "user", "content": [
                        {"type": "text", "text": "[card]"},
                        {"type": "image_url", "image_url": {"url": "data:"}}
                    ]},
                    {"role": "user", "content": null}
                ]
            })
        );
    }
}
