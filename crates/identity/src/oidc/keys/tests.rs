use super::*;
use crate::jws::SigningKey;

fn issuer(name: &str) -> IssuerUrl {
    IssuerUrl::parse(&format!("https://{name}.example")).unwrap()
}

fn at(seconds: u64) -> Tick {
    Tick(Duration::from_secs(seconds))
}

fn set() -> (JwkSet, String) {
    let key = SigningKey::generate().unwrap();
    (JwkSet::of_points([key.public_point()]), key.id().to_owned())
}

fn store() -> KeyStore {
    let mut store = KeyStore::new(at(0));
    store.configure([issuer("a"), issuer("b")], at(0));
    store
}

fn permit(lookup: Lookup) -> FetchPermit {
    match lookup {
        Lookup::Fetch(permit) | Lookup::KeyAndFetch(_, permit) => permit,
        other => panic!("no permit: {other:?}"),
    }
}

fn refused(lookup: Lookup) -> NoKey {
    match lookup {
        Lookup::None(reason) => reason,
        other => panic!("not refused: {other:?}"),
    }
}

/// A store that fetched `set` for `a` at second `when`.
fn filled(set: &JwkSet, when: u64) -> KeyStore {
    let mut store = store();
    let permit = permit(store.lookup(&issuer("a"), Some("x"), at(when)));
    assert!(store.fetched(permit, None, Some(set.clone()), at(when)));
    store
}

#[test]
fn a_known_key_needs_no_fetch() {
    let (set, id) = set();
    let mut store = filled(&set, 0);
    for second in 0..3600 {
        assert!(matches!(
            store.lookup(&issuer("a"), Some(&id), at(second)),
            Lookup::Key(_)
        ));
    }
}

#[test]
fn an_issuer_that_is_not_configured_is_never_fetched() {
    let reason = refused(store().lookup(&issuer("evil"), Some("x"), at(0)));
    assert_eq!(reason, NoKey::UnknownIssuer);
}

#[test]
fn the_cooldown_is_on_time_alone_and_not_on_success_failure_or_key_id() {
    let (set, _) = set();
    for result in [Some(set), None] {
        let mut store = store();
        let first = permit(store.lookup(&issuer("a"), Some("one"), at(100)));
        store.fetched(first, Some("one"), result, at(100));
        for second in 100..130 {
            let lookup = store.lookup(&issuer("a"), Some(&format!("other-{second}")), at(second));
            assert_eq!(refused(lookup), NoKey::CoolingDown);
        }
        permit(store.lookup(&issuer("a"), Some("another"), at(130)));
    }
}

#[test]
fn a_flood_of_unknown_key_ids_causes_few_fetches() {
    let (set, id) = set();
    let mut store = filled(&set, 0);
    let mut fetches = 0;
    for tick in 0..36_000_u64 {
        let now = Tick(Duration::from_millis(tick * 100));
        let unknown = format!("unknown-{tick}");
        match store.lookup(&issuer("a"), Some(&unknown), now) {
            Lookup::Fetch(permit) => {
                fetches += 1;
                store.fetched(permit, Some(&unknown), Some(set.clone()), now);
            }
            Lookup::None(_) => {}
            other => panic!("{other:?}"),
        }
        assert!(
            matches!(store.lookup(&issuer("a"), Some(&id), now), Lookup::Key(_)),
            "never evicted"
        );
    }
    // One hour: the burst, and then one a minute.
    assert!((60..=71).contains(&fetches), "{fetches}");
}

#[test]
fn only_one_fetch_runs_at_a_time_and_the_others_wait() {
    let (set, id) = set();
    let mut store = store();
    let first = permit(store.lookup(&issuer("a"), Some(&id), at(0)));
    for _ in 0..1000 {
        assert!(matches!(
            store.lookup(&issuer("a"), Some(&id), at(1)),
            Lookup::Wait
        ));
    }
    // Another issuer is not held up.
    permit(store.lookup(&issuer("b"), Some(&id), at(1)));
    assert!(store.fetched(first, Some(&id), Some(set), at(2)));
    assert!(matches!(
        store.lookup(&issuer("a"), Some(&id), at(2)),
        Lookup::Key(_)
    ));
}

#[test]
fn a_fetch_that_nobody_reported_on_is_given_up_and_its_late_result_ignored() {
    let (set, id) = set();
    let mut store = store();
    let lost = permit(store.lookup(&issuer("a"), Some(&id), at(0)));
    assert!(matches!(
        store.lookup(&issuer("a"), Some(&id), at(59)),
        Lookup::Wait
    ));
    let second = permit(store.lookup(&issuer("a"), Some(&id), at(60)));
    assert!(!store.fetched(lost, None, Some(set.clone()), at(61)));
    assert!(store.fetched(second, None, Some(set), at(62)));
}

#[test]
fn a_key_id_that_was_not_found_is_not_looked_for_again_for_a_while() {
    let (set, _) = set();
    let mut store = filled(&set, 0);
    let second = permit(store.lookup(&issuer("a"), Some("missing"), at(100)));
    store.fetched(second, Some("missing"), Some(set), at(100));
    for second in [100, 131, 400, 699] {
        assert_eq!(
            refused(store.lookup(&issuer("a"), Some("missing"), at(second))),
            NoKey::UnknownKey
        );
    }
    permit(store.lookup(&issuer("a"), Some("missing"), at(700)));
}

#[test]
fn the_memory_of_missing_key_ids_is_bounded() {
    let mut keys = IssuerKeys::new(at(0));
    for number in 0..10_000 {
        keys.remember_absent(&number.to_string(), at(1));
    }
    keys.remember_absent(&"x".repeat(10_000), at(1));
    assert!(keys.absent.len() <= MAX_ABSENT);
    assert!(keys.is_absent("9999", at(2)));
}

#[test]
fn a_miss_or_a_failed_fetch_never_removes_a_key() {
    let (set, id) = set();
    let mut store = filled(&set, 0);
    let second = permit(store.lookup(&issuer("a"), Some("missing"), at(100)));
    store.fetched(second, Some("missing"), None, at(100));
    assert!(matches!(
        store.lookup(&issuer("a"), Some(&id), at(101)),
        Lookup::Key(_)
    ));
    let third = permit(store.lookup(&issuer("a"), Some("missing"), at(200)));
    store.fetched(third, Some("missing"), Some(JwkSet::default()), at(200));
    assert!(matches!(
        store.lookup(&issuer("a"), Some(&id), at(201)),
        Lookup::Key(_)
    ));
}

#[test]
fn an_empty_first_key_set_is_a_failed_fetch() {
    let mut store = store();
    let first = permit(store.lookup(&issuer("a"), Some("x"), at(0)));
    assert!(!store.fetched(first, Some("x"), Some(JwkSet::default()), at(0)));
    assert_eq!(
        refused(store.lookup(&issuer("a"), Some("x"), at(1))),
        NoKey::CoolingDown
    );
}

#[test]
fn an_old_set_is_renewed_in_the_background_and_used_meanwhile_but_not_for_ever() {
    let (set, id) = set();
    let mut store = filled(&set, 0);
    let refresh = store.lookup(&issuer("a"), Some(&id), Tick(REFRESH_AFTER));
    let Lookup::KeyAndFetch(_, failing) = refresh else {
        panic!("{refresh:?}")
    };
    store.fetched(failing, None, None, Tick(REFRESH_AFTER));
    let later = Tick(REFRESH_AFTER + Duration::from_secs(1));
    assert!(matches!(
        store.lookup(&issuer("a"), Some(&id), later),
        Lookup::Key(_)
    ));
    // Every further renewal fails: the keys count until the limit and not a moment longer.
    let end = Tick(STALE_LIMIT - Duration::from_secs(1));
    let Lookup::KeyAndFetch(_, failing) = store.lookup(&issuer("a"), Some(&id), end) else {
        panic!()
    };
    store.fetched(failing, None, None, end);
    let after = store.lookup(&issuer("a"), Some(&id), Tick(STALE_LIMIT));
    assert_eq!(refused(after), NoKey::CoolingDown);
}

#[test]
fn a_key_that_the_provider_withdrew_is_gone_after_the_next_fetch() {
    let (old, old_id) = set();
    let (new, new_id) = set();
    let mut store = filled(&old, 0);
    let second = permit(store.lookup(&issuer("a"), Some(&new_id), at(100)));
    assert!(store.fetched(second, Some(&new_id), Some(new), at(100)));
    assert!(matches!(
        store.lookup(&issuer("a"), Some(&new_id), at(101)),
        Lookup::Key(_)
    ));
    assert_eq!(
        refused(store.lookup(&issuer("a"), Some(&old_id), at(101))),
        NoKey::CoolingDown
    );
}

#[test]
fn the_budget_of_all_issuers_together_is_bounded() {
    let mut store = KeyStore::new(at(0));
    let names: Vec<String> = (0..100).map(|number| format!("idp{number}")).collect();
    store.configure(names.iter().map(|name| issuer(name)), at(0));
    let granted = names
        .iter()
        .filter(|name| {
            matches!(
                store.lookup(&issuer(name), Some("x"), at(0)),
                Lookup::Fetch(_)
            )
        })
        .count();
    assert_eq!(granted, 30);
    assert_eq!(
        refused(store.lookup(&issuer("idp99"), Some("x"), at(1))),
        NoKey::Budget
    );
    permit(store.lookup(&issuer("idp99"), Some("x"), at(11)));
}

#[test]
fn reconfiguring_keeps_keys_of_issuers_that_stay_and_drops_the_others() {
    let (set, id) = set();
    let mut store = filled(&set, 0);
    store.configure([issuer("a")], at(1));
    assert!(matches!(
        store.lookup(&issuer("a"), Some(&id), at(1)),
        Lookup::Key(_)
    ));
    assert_eq!(
        refused(store.lookup(&issuer("b"), Some("x"), at(1))),
        NoKey::UnknownIssuer
    );
    store.configure([issuer("b")], at(2));
    assert_eq!(
        refused(store.lookup(&issuer("a"), Some(&id), at(2))),
        NoKey::UnknownIssuer
    );
}

#[test]
fn a_clock_that_does_not_move_allows_one_attempt_only() {
    let mut store = store();
    let mut fetches = 0;
    for number in 0..1000 {
        if let Lookup::Fetch(permit) = store.lookup(&issuer("a"), Some(&number.to_string()), at(5))
        {
            fetches += 1;
            store.fetched(permit, None, None, at(5));
        }
    }
    assert_eq!(fetches, 1);
}

#[test]
fn without_a_key_id_the_issuer_must_have_one_key_only() {
    let (one, id) = set();
    let mut store = filled(&one, 0);
    let found = store.lookup(&issuer("a"), None, at(1));
    assert!(matches!(found, Lookup::Key(key) if key.id() == id));
    let (first, second) = (
        SigningKey::generate().unwrap(),
        SigningKey::generate().unwrap(),
    );
    let two = JwkSet::of_points([first.public_point(), second.public_point()]);
    let mut store = filled(&two, 0);
    for second in 0..3600 {
        let lookup = store.lookup(&issuer("a"), None, at(second));
        assert_eq!(refused(lookup), NoKey::UnknownKey);
    }
}
