use clap::Parser as _;

use super::*;

#[derive(Debug, clap::Parser)]
struct Call {
    #[command(flatten)]
    arguments: Arguments,
}

fn asked(words: &[&str]) -> Result<Arguments, clap::Error> {
    let words = std::iter::once("scan").chain(words.iter().copied());
    Call::try_parse_from(words).map(|call| call.arguments)
}

#[test]
fn explain_is_a_command_and_anything_else_a_path() {
    assert!(matches!(
        asked(&["explain", "AI-092"]).unwrap().command,
        Some(Command::Explain(_))
    ));
    assert!(asked(&["./explain"]).unwrap().command.is_none());
    assert!(asked(&[]).is_err());
    assert!(asked(&["a", "--fix", "--diff"]).is_err());
}

#[test]
fn a_rule_that_is_not_there_is_a_mistake_in_the_call() {
    let arguments = asked(&["a", "--only", "AI-092,AI-9999"]).unwrap();
    let failure = ask::options(&arguments.scan, Format::Table).unwrap_err();
    assert_eq!(failure.exit(), Exit::Usage);
}

fn exit_for(text: &str, level: Level) -> Exit {
    let mut corpus = Corpus::default();
    corpus.add_yaml("a.yaml", text);
    let report = judged(&corpus, &report::Options::default());
    exit(&corpus, &report, level)
}

const PRIVILEGED: &str = "kind: Pod\napiVersion: v1\nmetadata: {name: a}\nspec:\n  containers: [{name: b, image: c, securityContext: {privileged: true}}]\n";

#[test]
fn the_exit_says_what_was_found_and_what_was_not_read() {
    assert_eq!(exit_for(PRIVILEGED, Level::Critical), Exit::Found);
    assert_eq!(
        exit_for(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n",
            Level::Low
        ),
        Exit::Held
    );
    assert_eq!(
        exit_for(&format!("{PRIVILEGED}---\na: [\n"), Level::Low),
        Exit::Unclear
    );
    assert_eq!(exit_for("", Level::Low), Exit::Unclear);
}
