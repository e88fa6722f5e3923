//! Makes text that somebody else chose harmless to show.

/// The text with every character that could move the cursor, reorder the line or hide in it made visible.
/// Line ends stay.
#[must_use]
pub fn visible(text: &str) -> String {
    text.chars()
        .map(|character| {
            if character == '\n' || !hides(character) {
                character
            } else {
                '\u{fffd}'
            }
        })
        .collect()
}

/// The same on one line.
pub(crate) fn line(text: &str) -> String {
    text.chars()
        .map(|character| match character {
            '\n' | '\t' | '\r' => ' ',
            other if hides(other) => '\u{fffd}',
            other => other,
        })
        .collect()
}

/// Controls, marks of direction, and what takes no room.
pub(super) fn hides(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Text for XML and HTML, inside elements and quoted attributes.
pub(crate) fn markup(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            '\n' => safe.push('\n'),
            // XML has no way to write these, not even as a reference.
            '\u{fffe}' | '\u{ffff}' => safe.push('\u{fffd}'),
            other if hides(other) => safe.push('\u{fffd}'),
            other => safe.push(other),
        }
    }
    safe
}
