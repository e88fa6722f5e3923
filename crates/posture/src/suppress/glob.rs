//! Patterns for paths and names: `*` within a part, `**` across parts, `?` for one character.

/// Whether the whole of `text` is what `pattern` says.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    // Which beginnings of the text the pattern read so far can stand for.
    let mut reached = vec![false; text.len() + 1];
    if let Some(first) = reached.first_mut() {
        *first = true;
    }
    let mut at = 0;
    while let Some(sign) = pattern.get(at) {
        let across = *sign == '*' && pattern.get(at + 1) == Some(&'*');
        at += if across { 2 } else { 1 };
        let mut next = vec![false; reached.len()];
        for (end, slot) in next.iter_mut().enumerate() {
            *slot = match (sign, end.checked_sub(1).and_then(|last| text.get(last))) {
                ('*', None) => reached.get(end) == Some(&true),
                // Filled in below: it depends on the slot before.
                ('*', Some(_)) => reached.get(end) == Some(&true),
                (_, None) => false,
                ('?', Some(letter)) => *letter != '/' && reached.get(end - 1) == Some(&true),
                (sign, Some(letter)) => sign == letter && reached.get(end - 1) == Some(&true),
            };
        }
        if *sign == '*' {
            for end in 1..next.len() {
                let goes_on = across || text.get(end - 1) != Some(&'/');
                let before = next.get(end - 1) == Some(&true);
                if let Some(slot) = next.get_mut(end) {
                    *slot |= before && goes_on;
                }
            }
        }
        // `**/` also stands for nothing at all.
        if across && pattern.get(at) == Some(&'/') && next.first() == Some(&true) {
            let rest: String = pattern.iter().skip(at + 1).collect();
            let whole: String = text.iter().collect();
            if matches(&rest, &whole) {
                return true;
            }
        }
        reached = next;
    }
    reached.last() == Some(&true)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn stars_stand_for_what_they_say() {
        for (pattern, text, expected) in [
            ("Deployment/*/llm*", "Deployment/prod/llm-a", true),
            ("Deployment/*", "Deployment/prod/llm", false),
            ("Deployment/**", "Deployment/prod/llm", true),
            ("**/values.yaml", "values.yaml", true),
            ("**/values.yaml", "a/b/values.yaml", true),
            ("deploy/?.yaml", "deploy/a.yaml", true),
            ("deploy/?.yaml", "deploy/ab.yaml", false),
            ("a", "ab", false),
            ("", "", true),
            ("*", "", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn a_hostile_pattern_takes_no_time() {
        let started = std::time::Instant::now();
        assert!(!matches(
            &"*a".repeat(200),
            &"a".repeat(2000).replace("aa", "ab")
        ));
        assert!(started.elapsed().as_secs() < 5);
    }
}
