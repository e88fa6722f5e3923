use super::*;

#[test]
fn addresses_are_doubted_for_what_they_are() {
    let severity = |address: &str| doubt(address).map(|(severity, _)| severity);
    assert_eq!(severity("http://hub.example.com"), Some(Severity::High));
    assert_eq!(severity("https://hf-mirror.com/x"), Some(Severity::High));
    assert_eq!(severity("https://not-hf-mirror.com"), Some(Severity::Low));
    assert_eq!(
        severity("https://huggingface.co.evil.test.example"),
        Some(Severity::Low)
    );
    for fine in [
        "https://huggingface.co",
        "https://user:word@pypi.org/simple",
        "https://mirror.svc",
        "https://cdn-lfs.hf.co",
        "http://127.0.0.1:8090",
        "http://localhost/x",
        "https://artifacts/x",
        "s3://bucket/x",
        "http://${MIRROR}/x",
    ] {
        assert_eq!(severity(fine), None, "{fine}");
    }
}

#[test]
fn a_switch_is_read_by_what_its_name_says() {
    assert!(is_quiet("HF_HUB_DISABLE_TELEMETRY", "1"));
    assert!(!is_quiet("HF_HUB_DISABLE_TELEMETRY", "0"));
    assert!(is_quiet("RAY_USAGE_STATS_ENABLED", "0"));
    assert!(!is_quiet("RAY_USAGE_STATS_ENABLED", "1"));
    assert!(is_quiet("GRADIO_ANALYTICS_ENABLED", "False"));
}
