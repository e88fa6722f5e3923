use std::convert::Infallible;

use casemate_core::receipt::{Assurance, Draft, ReceiptKind};
use casemate_core::time::UnixTime;
use casemate_identity::jws::SigningKey;
use casemate_identity::svid::KeyPair;

use super::*;
use crate::home::Home;
use crate::output::Output;

/// An exported record, its key and the place of a person's files.
struct Scene {
    directory: tempfile::TempDir,
    receipts: Vec<Receipt>,
}

impl Scene {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let pair = KeyPair::generate().expect("a key");
        std::fs::write(directory.path().join("key.pem"), pair.public_pem()).expect("is written");
        let key = SigningKey::new(pair);
        let mut receipts: Vec<Receipt> = Vec::new();
        for subject in ["a", "b", "c"] {
            let draft = Draft {
                time: UnixTime(1),
                kind: ReceiptKind::TicketIssued,
                subject: subject.to_owned(),
                facts: BTreeMap::new(),
                assurance: Assurance::Software,
            };
            let head = receipts.last().map(Head::of);
            let sign = |bytes: &[u8]| Ok::<_, Infallible>(key.sign(bytes).expect("signs"));
            receipts.extend(draft.sign(head.as_ref(), sign));
        }
        Self {
            directory,
            receipts,
        }
    }

    fn verify(&self, receipts: Vec<Receipt>, seen: Option<Head>) -> Result<Exit, Failure> {
        let file = self.directory.path().join("receipts.json");
        let text = serde_json::to_vec(&Exported { receipts }).expect("writes");
        std::fs::write(&file, text).expect("is written");
        let output = Output::new(true);
        let context = Context {
            output: &output,
            socket: PathBuf::from("/nowhere"),
            home: Home::new(Some(self.directory.path().join("home"))).expect("a home"),
        };
        let arguments = Arguments {
            command: Command::Verify(Verify {
                file: Some(file),
                key: Some(self.directory.path().join("key.pem")),
                seen,
            }),
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime");
        runtime.block_on(run(&context, arguments))
    }
}

#[test]
fn an_exported_record_verifies_without_the_daemon() {
    let scene = Scene::new();
    assert_eq!(
        scene.verify(scene.receipts.clone(), None).expect("holds"),
        Exit::Held
    );
}

#[test]
fn a_changed_exchanged_missing_or_cut_receipt_is_found() {
    let scene = Scene::new();
    let head = Head::of(&scene.receipts[2]);
    let mut changed = scene.receipts.clone();
    changed[1].subject = "x".to_owned();
    let mut exchanged = scene.receipts.clone();
    exchanged.swap(1, 2);
    let mut missing = scene.receipts.clone();
    missing.remove(1);
    for broken in [changed, exchanged, missing, scene.receipts[..2].to_vec()] {
        let failure = scene
            .verify(broken, Some(head.clone()))
            .expect_err("is found");
        assert_eq!(failure.exit(), Exit::Found);
    }
}

#[test]
fn a_key_that_is_none_is_a_mistake_and_not_a_forgery() {
    let scene = Scene::new();
    std::fs::write(scene.directory.path().join("key.pem"), "nothing").expect("is written");
    let failure = scene
        .verify(scene.receipts.clone(), None)
        .expect_err("is refused");
    assert_eq!(failure.exit(), Exit::Usage);
}

#[test]
fn a_head_is_written_as_it_is_printed() {
    let digest = "0".repeat(64);
    assert_eq!(
        parse_head(&format!("7:{digest}")),
        Ok(Head {
            seq: 7,
            digest: digest.clone()
        })
    );
    for bad in [
        "7",
        ":",
        "x:00",
        &format!("-1:{digest}"),
        &format!("7:{}", digest.replace('0', "G")),
    ] {
        assert!(parse_head(bad).is_err(), "{bad}");
    }
}
