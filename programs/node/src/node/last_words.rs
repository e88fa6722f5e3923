//! What the stages of an enclosure that did not come up had written, kept until it is tried again.

use std::collections::BTreeMap;

use casemate_core::name::Name;

/// The ends of logs, by enclosure and stage.
#[derive(Debug, Default)]
pub(super) struct LastWords {
    stages: BTreeMap<(String, String), Vec<String>>,
}

impl LastWords {
    /// Keeps the end of a stage's log. There is room for so many; another one then goes.
    pub(super) fn keep(&mut self, enclosure: &Name, stage: &Name, lines: Vec<String>) {
        if self.stages.len() >= MAX_STAGES {
            self.stages.pop_first();
        }
        self.stages
            .insert((enclosure.to_string(), stage.to_string()), lines);
    }

    /// The enclosure is tried again.
    pub(super) fn forget(&mut self, enclosure: &str) {
        self.stages.retain(|(of, _), _| of != enclosure);
    }

    /// What the stage had written; the enclosure `-` is whichever has such a stage, if only one does.
    pub(super) fn of(&self, enclosure: &str, stage: &str) -> Option<Vec<String>> {
        let fits =
            |(of, name): &&(String, String)| (enclosure == "-" || of == enclosure) && name == stage;
        let mut found = self.stages.keys().filter(fits);
        let key = found.next()?;
        if found.next().is_some() {
            return None;
        }
        self.stages.get(key).cloned()
    }
}

const MAX_STAGES: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        text.parse().expect("a name")
    }

    #[test]
    fn last_words_are_found_by_stage_alone_where_that_is_enough() {
        let mut words = LastWords::default();
        words.keep(&name("chat"), &name("infer"), vec!["no such file".into()]);
        assert_eq!(words.of("chat", "infer").map(|lines| lines.len()), Some(1));
        assert_eq!(words.of("-", "infer").map(|lines| lines.len()), Some(1));
        assert_eq!(words.of("other", "infer"), None);
        words.keep(&name("second"), &name("infer"), Vec::new());
        assert_eq!(words.of("-", "infer"), None);
        words.forget("second");
        assert_eq!(words.of("-", "infer").map(|lines| lines.len()), Some(1));
    }
}
