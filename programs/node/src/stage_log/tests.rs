use super::*;

fn path(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("casemated-log-{}-{name}.log", std::process::id()))
}

#[test]
fn a_log_never_grows_past_its_bound() {
    let log = StageLog::with_limit(&path("bound"), 100).unwrap();
    for number in 0..1000 {
        log.append(format!("line {number}\n").as_bytes()).unwrap();
    }
    let on_disk =
        fs::metadata(&log.path).unwrap().len() + fs::metadata(older(&log.path)).unwrap().len();
    assert!(on_disk <= 220, "{on_disk}");
    let (lines, dropped) = log.tail(2).unwrap();
    assert_eq!(lines, ["line 998", "line 999"]);
    assert!(dropped > 0);
    log.remove();
    assert!(!log.path.exists());
}

#[test]
fn a_log_line_cannot_drive_a_terminal() {
    let shown = visible(b"\x1b]0;owned\x07 \x9b2J \xe2\x80\xae evil\r");
    assert!(
        shown.chars().all(|character| !character.is_control()),
        "{shown:?}"
    );
    assert!(!shown.contains('\u{202e}'), "{shown:?}");
}

#[test]
fn a_line_without_an_end_is_cut() {
    assert!(visible(&vec![b'x'; 1 << 20]).len() < 5000);
}
