mod documents;

use clap::CommandFactory as _;

use crate::arguments::Arguments;

/// Every command's help, one after another.
fn help(command: &mut clap::Command, path: &str, text: &mut String) {
    let name = format!("{path}{}", command.get_name());
    text.push_str(&format!(
        "===== {name} --help =====\n{}\n",
        command.render_long_help()
    ));
    for subcommand in command
        .get_subcommands_mut()
        .filter(|command| command.get_name() != "help")
    {
        help(subcommand, &format!("{name} "), text);
    }
}

#[test]
fn the_help_teaches_each_command() {
    let mut text = String::new();
    let mut command = Arguments::command().term_width(100);
    command.build();
    help(&mut command, "", &mut text);
    insta::assert_snapshot!(text);
}

#[test]
fn the_commands_are_declared_without_contradiction() {
    Arguments::command().debug_assert();
}

#[test]
fn a_token_is_never_an_argument() {
    let mut text = String::new();
    help(&mut Arguments::command(), "", &mut text);
    assert!(
        !text.contains("--token "),
        "a token on the command line is read by every user of the host"
    );
}
