use super::*;
use crate::place::Files;

const REAL: &str = "\
# the toolkit's own
#accept-nvidia-visible-devices-envvar-when-unprivileged = true
disable-require = false
supported-driver-capabilities = \"compute,ütility\"

[nvidia-container-cli]
environment = []
ldconfig = \"@/sbin/ldconfig\" # host's

[nvidia-container-runtime.modes.cdi]
spec-dirs = [\"/etc/cdi\", '/var/run/cdi']
features.x = { a = 1, b.c = 2.5 }
";

fn read_text(text: &str) -> (Files, Result<Node, ReadTomlError>) {
    let mut files = Files::default();
    let file = files.add("config.toml", text);
    (files, read(file, text))
}

#[test]
fn every_value_knows_its_bytes() {
    let (files, root) = read_text(REAL);
    let root = root.unwrap();
    let shown = |path: &[&str]| files.text(root.at(path).unwrap().place).to_owned();
    assert_eq!(shown(&["disable-require"]), "false");
    assert_eq!(
        shown(&["supported-driver-capabilities"]),
        "\"compute,ütility\""
    );
    assert_eq!(
        shown(&["nvidia-container-cli", "ldconfig"]),
        "\"@/sbin/ldconfig\""
    );
    let cdi = ["nvidia-container-runtime", "modes", "cdi"];
    let directories = root.at(&cdi).unwrap().get("spec-dirs").unwrap();
    assert_eq!(files.text(directories.items()[1].place), "'/var/run/cdi'");
    assert_eq!(directories.items()[1].text(), Some("/var/run/cdi"));
    let features = root.at(&cdi).unwrap().at(&["features", "x"]).unwrap();
    assert_eq!(features.at(&["b", "c"]).unwrap().text(), Some("2.5"));
    let ldconfig = root
        .at(&["nvidia-container-cli", "ldconfig"])
        .unwrap()
        .place;
    assert_eq!((ldconfig.line, ldconfig.column), (8, 12));
}

#[test]
fn a_section_stands_where_its_header_does_and_the_document_at_its_first_line() {
    let (files, root) = read_text(REAL);
    let root = root.unwrap();
    assert_eq!((root.place.line, root.place.column), (1, 1));
    let section = root.get("nvidia-container-cli").unwrap();
    assert_eq!(section.place.line, 6);
    assert!(
        files
            .text(section.place)
            .starts_with("[nvidia-container-cli]")
    );
}

#[test]
fn booleans_in_quotes_are_texts() {
    let (_, root) = read_text("a = true\nb = \"true\"\n");
    let root = root.unwrap();
    assert_eq!(root.boolean_at("a"), Some(true));
    assert_eq!(root.boolean_at("b"), None);
}

#[test]
fn it_is_recognised_by_what_is_in_it_and_by_its_name() {
    let (_, root) = read_text(REAL);
    assert!(is_toolkit(&root.unwrap()));
    let (_, other) = read_text("[package]\nname = \"nvidia-container-cli\"\n");
    assert!(!is_toolkit(&other.unwrap()));
    assert!(is_named("/etc/nvidia-container-runtime/config.toml"));
    assert!(is_named("/usr/local/nvidia/toolkit/.config/config.toml"));
    assert!(!is_named("/etc/containerd/config.toml"));
}

#[test]
fn a_mistake_is_told_with_line_and_column() {
    let (_, root) = read_text("a = 1\nñ = 2\n");
    let error = root.unwrap_err();
    assert_eq!((error.place.line, error.place.column), (2, 1), "{error}");
    let (_, root) = read_text("a = 1\nb = \"ü\" c\n");
    let error = root.unwrap_err();
    assert_eq!((error.place.line, error.place.column), (2, 9), "{error}");
    assert!(error.message.starts_with("this is not TOML"), "{error}");
    assert!(read_text("a = 1\na = 2\n").1.is_err());
}

#[test]
fn size_and_depth_are_bounded() {
    let (_, root) = read_text(&format!("a = \"{}\"\n", "x".repeat(MAX_BYTES)));
    assert!(root.unwrap_err().message.contains("at most"));
    for text in [
        format!("a = {}", "[".repeat(100_000)),
        format!("a = {}", "{a = ".repeat(100_000)),
        format!("{}a = 1", "a.".repeat(100_000)),
        format!("[{}a]", "a.".repeat(100_000)),
        // Each of the two is bounded by the parser, their product is not.
        format!("x = {}", format!("{{{}a = ", "a.".repeat(79)).repeat(79)),
        // Quotes of a text of several lines hide nothing behind it.
        format!(
            "y = \"\"\"\n'\"\"\"\nx = {}",
            format!("{{{}a = ", "a.".repeat(40)).repeat(79)
        ),
        format!("y = [\"\"\"'\"\"\", {}", "[".repeat(100)),
    ] {
        let message = read_text(&text).1.unwrap_err().message;
        assert!(message.contains("deep"), "{message}");
    }
}

#[test]
fn dots_of_numbers_and_texts_are_no_depth() {
    let numbers = "1.5, ".repeat(500);
    assert!(read_text(&format!("a = [{numbers}]\n")).1.is_ok());
    let dots = ".".repeat(500);
    assert!(read_text(&format!("a = \"{dots}\" # {dots}\n")).1.is_ok());
}

#[test]
fn a_very_long_line_is_read_in_little_time() {
    let started = std::time::Instant::now();
    let numbers = "1,".repeat(400_000);
    let (_, root) = read_text(&format!("a = [{numbers}]\n"));
    let items = root.unwrap();
    let items = items.list("a");
    assert_eq!(items.len(), 400_000);
    assert_eq!(items.last().unwrap().place.column, 5 + 1 + 2 * 399_999);
    assert!(started.elapsed().as_secs() < 20);
}

proptest::proptest! {
    #[test]
    fn places_are_those_that_counting_finds(text in "[a-c=\\[\\]{}\"'.,#\nü]{0,400}", at in 0_usize..400) {
        let places = Places::of(FileId(0), &text);
        let at = (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap();
        let place = places.place(at..at);
        let before = text.get(..at).unwrap();
        let line_start = before.rfind('\n').map_or(0, |end| end + 1);
        proptest::prop_assert_eq!(place.line as usize, before.matches('\n').count() + 1);
        proptest::prop_assert_eq!(place.column as usize, before.get(line_start..).unwrap().chars().count() + 1);
        crate::fuzz::fuzz_toolkit(text.as_bytes());
    }

    #[test]
    fn every_place_of_any_configuration_is_in_its_text(parts in proptest::collection::vec(part(), 0..30)) {
        crate::fuzz::fuzz_toolkit(parts.concat().as_bytes());
    }
}

/// A piece of a configuration, or of something that looks like one.
fn part() -> impl proptest::strategy::Strategy<Value = &'static str> {
    proptest::sample::select(vec![
        "[nvidia-container-cli]\n",
        "[nvidia-container-runtime.modes.cdi]\n",
        "[[runtimes]]\n",
        "[features]\n",
        "\"ü\".b = '''ñ\n'''\n",
        "accept-nvidia-visible-devices-envvar-when-unprivileged = ",
        "disable-require = true\n",
        "ldconfig = \"/sbin/ldconfig\"\n",
        "a.b.c = ",
        "true\n",
        "false\n",
        "\"\"\"",
        "'",
        "[1, 2, [\"ü\"]]\n",
        "{ a = 1, b.c = { } }\n",
        "2026-11-22T01:02:03Z\n",
        "1.5e3\n",
        "# ñ\n",
        "\r\n",
        "\u{feff}",
        "\n",
    ])
}
