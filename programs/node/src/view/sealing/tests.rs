use std::sync::Arc;

use super::*;
use crate::keys::{NodeKey, ReceiptKey};

fn sealing() -> Sealing {
    Sealing {
        model: "smollm2@1".parse().unwrap(),
        root_digest: "aa".repeat(32),
        seal_digest: "bb".repeat(32),
        epoch: 3,
        signer: "cc".repeat(32),
        data_bytes: 1000,
    }
}

fn ready() -> Ready {
    let sealing = sealing();
    Ready {
        model: sealing.model,
        root_digest: sealing.root_digest,
        seal_digest: sealing.seal_digest,
        epoch: sealing.epoch,
        signer: sealing.signer,
        files: 2,
        bytes: 900,
        confinement: ["landlock-abi-4", "seccomp", "mlock", "not-dumpable"]
            .map(str::to_owned)
            .into(),
    }
}

#[test]
fn a_vault_that_reports_what_was_verified_is_believed() {
    assert_eq!(sealing().differs(&ready()), None);
}

#[test]
fn a_vault_that_reports_anything_else_is_not() {
    type Lie = fn(&mut Ready);
    let lies: [(&str, Lie); 9] = [
        ("model", |ready| ready.model = "smollm2@2".parse().unwrap()),
        ("root digest", |ready| ready.root_digest.push('0')),
        ("seal digest", |ready| ready.seal_digest = "00".repeat(32)),
        ("epoch", |ready| ready.epoch = u64::MAX >> 1),
        ("signer", |ready| ready.signer.clear()),
        ("length", |ready| ready.bytes = 1001),
        ("confinement", |ready| ready.confinement.clear()),
        ("confinement", |ready| drop(ready.confinement.pop())),
        ("confinement", |ready| {
            ready.confinement = ["landlock-abi-0", "seccomp", "mlock", "not-dumpable"]
                .map(str::to_owned)
                .into();
        }),
    ];
    for (what, lie) in lies {
        let mut ready = ready();
        lie(&mut ready);
        assert_eq!(sealing().differs(&ready), Some(what));
    }
}

#[test]
fn one_signers_epoch_does_not_close_another_signers_model_of_the_same_name() {
    let state = std::env::temp_dir().join(format!("casemated-sealing-{}", std::process::id()));
    std::fs::remove_dir_all(&state).ok();
    std::fs::create_dir_all(&state).unwrap();
    let key = ReceiptKey::open(&state, &NodeKey::open(&state).unwrap()).unwrap();
    let store = Store::open(&state, Arc::new(key)).unwrap();
    let mine = sealing();
    let others = Sealing {
        signer: "dd".repeat(32),
        epoch: u64::MAX >> 1,
        ..sealing()
    };
    mine.remember(&store).unwrap();
    others.remember(&store).unwrap();
    assert!(mine.not_older(&store).unwrap().is_ok());
    let older = Sealing {
        epoch: 2,
        ..sealing()
    };
    assert!(older.not_older(&store).unwrap().is_err());
    std::fs::remove_dir_all(&state).unwrap();
}
