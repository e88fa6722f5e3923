//! The servers we know, as a page: what each opens, needs and calls, and what of it somebody has seen.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use casemate_core::profile::{Grantable, Listener, Profile, all};

/// An overview, and a section for each profile.
pub(crate) fn page() -> anyhow::Result<String> {
    let mut page = String::from(
        "# Server profiles\n\nWritten by `cargo xtask generate` from `crates/core/profiles`. A profile is what we know of a server; the gate\n\
         decides with it, and the scanner recognises servers by it. It allows nothing by itself: a flow says which\n\
         classes a caller may use. A route that no row names is denied, and so is a row that nobody has verified by\n\
         running the server.\n\n",
    );
    page.push_str("| profile | server | routes | a flow may grant | never granted | verified |\n|---|---|---|---|---|---|\n");
    for profile in all() {
        let (may, never) = counts(profile);
        let verified = profile
            .routes
            .iter()
            .filter(|row| row.verified_on.is_some());
        writeln!(
            page,
            "| [{id}](#{anchor}) | {server} | {all} | {may} | {never} | {verified} |",
            id = profile.id,
            anchor = anchor(profile.id.as_str()),
            server = cell(&profile.server),
            all = profile.routes.len(),
            verified = verified.count(),
        )?;
    }
    for profile in all() {
        section(&mut page, profile)?;
    }
    Ok(page)
}

/// How many rows a flow may grant, and how many no flow may.
fn counts(profile: &Profile) -> (usize, usize) {
    let may = |class| profile.grantable(class) == Some(Grantable::ByFlow);
    let granted = profile.routes.iter().filter(|row| may(&row.class)).count();
    (granted, profile.routes.len().saturating_sub(granted))
}

fn section(page: &mut String, profile: &Profile) -> anyhow::Result<()> {
    write!(page, "\n## {}\n\n{}.", profile.id, profile.server)?;
    match &profile.verified_on {
        Some(on) => writeln!(page, " Verified on {on}.")?,
        None => writeln!(
            page,
            " Nobody has run it against these rows, so the gate denies all of them."
        )?,
    }
    classes(page, profile)?;
    page.push_str("\n| port | class | what | address | moved by | opened by | source |\n|---|---|---|---|---|---|---|\n");
    for listener in &profile.ports.listens {
        listens(page, listener)?;
    }
    process(page, profile)?;
    if !profile.outbound.is_empty() {
        page.push_str(
            "\n| calls | phase | for | only with | unless | source |\n|---|---|---|---|---|---|\n",
        );
    }
    for host in &profile.outbound {
        writeln!(
            page,
            "| `{}` | {} | {} | {} | {} | {} |",
            host.host,
            host.phase.as_str(),
            cell(&host.purpose),
            codes(&host.only_when),
            host.opt_out.as_deref().map_or_else(String::new, code),
            host.source
        )?;
    }
    page.push_str("\nSources:\n\n");
    for (index, source) in profile.source.iter().enumerate() {
        writeln!(page, "{}. <{source}>", index.saturating_add(1))?;
    }
    Ok(())
}

fn classes(page: &mut String, profile: &Profile) -> anyhow::Result<()> {
    let mut rows: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for route in &profile.routes {
        let (all, verified) = rows.entry(route.class.as_str()).or_default();
        *all = all.saturating_add(1);
        *verified = verified.saturating_add(usize::from(route.verified_on.is_some()));
    }
    page.push_str(
        "\n| class | what its routes do | granted | routes | verified |\n|---|---|---|---|---|\n",
    );
    for class in &profile.classes {
        let (all, verified) = rows.get(class.name.as_str()).copied().unwrap_or_default();
        let granted = match class.grant {
            Grantable::ByFlow => "by a flow",
            Grantable::Never => "never",
        };
        writeln!(
            page,
            "| {} | {} | {granted} | {all} | {verified} |",
            class.name,
            cell(&class.what)
        )?;
    }
    Ok(())
}

fn listens(page: &mut String, listener: &Listener) -> anyhow::Result<()> {
    let port = listener
        .port
        .map_or_else(|| "as told".to_owned(), |port| port.to_string());
    writeln!(
        page,
        "| {port} | {} | {} | {} | {} | {} | {} |",
        listener.class.as_str(),
        cell(&listener.what),
        listener.bind,
        codes(&listener.moved_by),
        codes(&listener.opened_by),
        listener.source
    )?;
    Ok(())
}

fn process(page: &mut String, profile: &Profile) -> anyhow::Result<()> {
    let environment = &profile.environment;
    let pairs = |pairs: &BTreeMap<String, String>| -> Vec<String> {
        pairs
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect()
    };
    let required: Vec<String> = profile
        .flags
        .require
        .iter()
        .map(|flag| format!("{} ({})", code(&flag.flag), flag.why))
        .collect();
    let secrets: Vec<String> = profile
        .secrets
        .iter()
        .map(|secret| {
            format!(
                "{} ({}: {})",
                code(&secret.name),
                secret.phase.as_str(),
                secret.what
            )
        })
        .collect();
    let rows = [
        (
            "variables that are always set",
            codes(&pairs(&environment.require)),
        ),
        (
            "variables unless an enclosure says otherwise",
            codes(&pairs(&environment.default)),
        ),
        ("variables that are refused", codes(&environment.forbid)),
        ("flags that should be there", required.join("; ")),
        ("flags that are refused", codes(&profile.flags.forbid)),
        ("keys it can be given", secrets.join("; ")),
        ("directories it writes", codes(&profile.writable)),
        ("its images", codes(&profile.evidence.images)),
        ("its commands", codes(&profile.evidence.commands)),
    ];
    page.push_str("\n| | |\n|---|---|\n");
    for (what, text) in rows.iter().filter(|(_, text)| !text.is_empty()) {
        writeln!(page, "| {what} | {} |", cell(text))?;
    }
    Ok(())
}

fn codes(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| code(word)).collect();
    words.join(", ")
}

fn code(word: &str) -> String {
    format!("`{word}`")
}

/// The address that a heading gets: dots go.
fn anchor(heading: &str) -> String {
    heading.replace('.', "")
}

/// A text that stays inside its cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use casemate_core::profile::all;

    #[test]
    fn every_profile_has_its_section_and_every_port_its_line() {
        let page = super::page().unwrap();
        for profile in all() {
            assert!(
                page.contains(&format!("\n## {}\n", profile.id)),
                "{}",
                profile.id
            );
            for port in profile.ports.listens.iter().filter_map(|one| one.port) {
                assert!(page.contains(&format!("\n| {port} | ")), "{port}");
            }
        }
    }
}
