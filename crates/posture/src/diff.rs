//! What would change, in the form that `patch` and people read.

use similar::TextDiff;

use crate::fix::FixedFile;

/// The unified diff of every file, with paths that `patch -p1` takes from where the scan ran.
#[must_use]
pub fn unified(files: &[FixedFile]) -> String {
    let mut all = String::new();
    for file in files {
        let name = file.name.trim_start_matches("./").trim_start_matches('/');
        let name: String = name
            .chars()
            .map(|character| {
                if character.is_control() {
                    '\u{fffd}'
                } else {
                    character
                }
            })
            .collect();
        let diff = TextDiff::from_lines(&file.before, &file.after);
        let text = diff
            .unified_diff()
            .context_radius(3)
            .header(&format!("a/{name}"), &format!("b/{name}"))
            .to_string();
        all.push_str(&text);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_line_is_shown_among_its_neighbours() {
        let file = FixedFile {
            name: "./deploy/a.yaml".to_owned(),
            before: "a: 1\nb: true\nc: 3".to_owned(),
            after: "a: 1\nb: false\nc: 3".to_owned(),
        };
        let expected = "--- a/deploy/a.yaml\n+++ b/deploy/a.yaml\n@@ -1,3 +1,3 @@\n a: 1\n-b: true\n+b: false\n c: 3\n\\ No newline at end of file\n";
        assert_eq!(unified(&[file]), expected);
    }
}
