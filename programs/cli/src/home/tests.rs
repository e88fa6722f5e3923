use super::*;

fn login() -> Login {
    Login {
        spiffe_id: "spiffe://example.internal/user/idp/ada"
            .parse()
            .expect("an id"),
        trust_domain: "example.internal".parse().expect("a domain"),
        issuer_url: "https://127.0.0.1:8444".to_owned(),
        bundle_pem: String::new(),
        chain_pem: "chain".to_owned(),
        key_pem: SecretText::new("the key".to_owned()),
        id_token: SecretText::new("the token".to_owned()),
        groups: vec!["analysts".to_owned()],
        expires: UnixTime(1000),
    }
}

fn stage() -> SpiffeId {
    "spiffe://example.internal/enclosure/chat/stage/redact"
        .parse()
        .expect("an id")
}

fn ticket() -> SavedTicket {
    SavedTicket {
        stage_id: stage(),
        ticket: SecretText::new("x.y.z".to_owned()),
        expires: UnixTime(500),
        models: Vec::new(),
    }
}

fn home() -> (tempfile::TempDir, Home) {
    let directory = tempfile::tempdir().expect("a directory");
    let home = Home::new(Some(directory.path().join("casemate"))).expect("a home");
    (directory, home)
}

#[test]
fn a_login_is_kept_for_its_owner_only() {
    let (_directory, home) = home();
    let path = home.keep_login(&login()).expect("is kept");
    let mode = |path: &Path| fs::metadata(path).expect("is there").mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(path.parent().expect("a parent")), 0o700);
    let read = home.login(UnixTime(999)).expect("reads");
    assert_eq!(read.key_pem.expose(), "the key");
    let left = fs::read_dir(path.parent().expect("a parent"))
        .expect("lists")
        .count();
    assert_eq!(left, 1, "nothing half-written stays");
}

#[test]
fn a_login_ends_with_its_certificate() {
    let (_directory, home) = home();
    home.keep_login(&login()).expect("is kept");
    let refused = home.login(UnixTime(1000)).expect_err("is refused");
    assert!(
        refused
            .to_string()
            .contains("your login ended at 1970-01-01T00:16:40Z"),
        "{refused}"
    );
}

#[test]
fn a_file_that_others_can_read_is_refused() {
    let (_directory, home) = home();
    let path = home.keep_login(&login()).expect("is kept");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("is set");
    let refused = home.login(UnixTime(0)).expect_err("is refused");
    assert!(refused.to_string().contains("chmod 600"), "{refused}");
}

#[test]
fn a_new_login_takes_the_old_tickets_away() {
    let (_directory, home) = home();
    home.keep_ticket(&ticket()).expect("is kept");
    assert!(home.ticket(&stage()).expect("reads").is_some());
    assert_eq!(home.ticketed(&"redact".parse().expect("a name")), [stage()]);
    home.keep_login(&login()).expect("is kept");
    assert!(home.ticket(&stage()).expect("reads").is_none());
}

#[test]
fn a_secret_is_not_printed_by_accident() {
    let text = format!("{:?} {:?}", login(), ticket());
    assert!(!text.contains("the key") && !text.contains("the token") && !text.contains("x.y.z"));
}
