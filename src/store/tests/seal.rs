//! Secrets at rest: sealed when there is a key, whatever the store was before, and never lost
//! without a word.

use std::collections::BTreeMap;

use super::super::idempotency::{Answer, IdempotencyKey};
use super::super::trees::Tree;
use super::super::{Error, Keys};
use super::*;
use crate::model::oauth::{AuthMethod, ClientCredentials};
use crate::model::source::{Refused, Source, SourceSecret};

const FIRST: [u8; 32] = [1; 32];
const SECOND: [u8; 32] = [2; 32];
/// What must be found nowhere on the disk of a sealed store.
const SECRETS: [&str; 6] = [
    "whsec_BwcHBwcHBw",
    "header-value-1",
    "source-secret-1",
    "refused-header-1",
    "answered-token-1",
    "client-secret-1",
];

fn keys(current: Option<[u8; 32]>, old: Option<[u8; 32]>) -> Keys {
    Keys { current, old }
}

fn open(path: &Path, keys: Keys) -> Result<Store> {
    let clock = Arc::new(HandClock(AtomicU64::new(START.0)));
    Store::open(Options { keys, ..options(path.to_path_buf(), &clock) }, Box::new(|_| ()))
}

/// Puts something secret into every table that may hold it.
fn fill(store: &Store) {
    let app = store.write_and_wait(|w| w.put_application(new_application(w))).unwrap().id;
    store
        .write_and_wait(move |w| {
            let headers = BTreeMap::from([("authorization".to_owned(), SECRETS[1].to_owned())]);
            let description = "long enough to take several rows ".repeat(500);
            let oauth = Some(Arc::new(ClientCredentials {
                token_url: "https://id.example/".to_owned(),
                client_id: "us".to_owned(),
                client_secret: SECRETS[5].to_owned(),
                scope: None,
                audience: None,
                auth_method: AuthMethod::ClientSecretBasic,
            }));
            w.put_endpoint(Endpoint { description, headers, oauth, ..new_endpoint(w, app) })?;
            let id = w.new_source_id();
            let mut source = Source::new(id, OrgId::default_org(), app, "token-1".into(), w.now());
            source.secrets = vec![SourceSecret(SECRETS[2].to_owned())];
            w.put_source(source)?;
            let request = format!("authorization: {}\r\n{}", SECRETS[3], "x".repeat(9000));
            w.keep_refused(
                id,
                &Refused {
                    at: w.now(),
                    status: 401,
                    code: "signature_mismatch".to_owned(),
                    detail: String::new(),
                    hint: None,
                    body_bytes: 0,
                    request: request.into_bytes(),
                },
            )?;
            let key = IdempotencyKey { hash: [3; 32], fingerprint: [4; 32] };
            w.once(Some(&key), |_| Ok(answer()))
        })
        .unwrap();
}

fn answer() -> Answer {
    let body = format!("{}{}", "x".repeat(6000), SECRETS[4]).into_bytes();
    Answer::Body { status: 200, body }
}

/// Everything that [`fill`] put there can be read, and the checker is content.
#[track_caller]
fn check_whole(store: &Store) {
    let report = store.check().unwrap();
    assert!(report.is_clean(), "{:?}", report.faults);
    let id = store.directory().endpoint_ids().unwrap()[0];
    let endpoint = store.directory().endpoint(id).unwrap().unwrap();
    assert_eq!(endpoint.headers["authorization"], SECRETS[1]);
    assert_eq!(endpoint.oauth.as_ref().unwrap().client_secret, SECRETS[5]);
    assert!(!format!("{endpoint:?}").contains(SECRETS[5]));
    assert_eq!(endpoint.secrets[0].key, SigningKey::symmetric_from_random([7; 32]));
    let source = &store.directory().sources(OrgId::default_org()).unwrap()[0];
    assert_eq!(source.secrets[0].0, SECRETS[2]);
    let (capture, _) = store.refused(source.id).unwrap()[0];
    let refused = store.refused_request(source.id, capture).unwrap().unwrap();
    assert!(String::from_utf8(refused.request).unwrap().contains(SECRETS[3]));
    let key = IdempotencyKey { hash: [3; 32], fingerprint: [4; 32] };
    let (answer, repeated) =
        store.write_and_wait(move |w| w.once(Some(&key), |_| panic!("not kept"))).unwrap();
    assert!(repeated);
    assert_eq!(answer, self::answer());
}

/// Which of [`SECRETS`] can be read in some row.
fn readable(store: &Store) -> Vec<&'static str> {
    let mut found = Vec::new();
    for tree in Tree::ALL {
        for row in store.shared.trees.tree(*tree) {
            let (_, value) = row.unwrap();
            let text = String::from_utf8_lossy(&value).into_owned();
            found.extend(SECRETS.into_iter().filter(|secret| text.contains(secret)));
        }
    }
    found
}

#[test]
fn nothing_secret_is_written_in_clear_when_there_is_a_key() {
    let folder = temporary();
    let path = folder.path().join("store");
    let store = open(&path, keys(Some(FIRST), None)).unwrap();
    fill(&store);
    check_whole(&store);
    store.close().unwrap();
    drop(store);
    let store = open(&path, keys(Some(FIRST), None)).unwrap();
    check_whole(&store);
    store.close().unwrap();
    assert_eq!(readable(&store), Vec::<&str>::new());
    let mut files = vec![path];
    while let Some(file) = files.pop() {
        if file.is_dir() {
            files.extend(std::fs::read_dir(&file).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let bytes = std::fs::read(&file).unwrap();
        for secret in SECRETS {
            let is_there = bytes.windows(secret.len()).any(|w| w == secret.as_bytes());
            assert!(!is_there, "{secret} in {}", file.display());
        }
    }
}

#[test]
fn a_clear_store_is_sealed_and_a_key_is_changed_while_opening() {
    let folder = temporary();
    let path = folder.path().join("store");
    let store = open(&path, Keys::default()).unwrap();
    fill(&store);
    check_whole(&store);
    assert_eq!(readable(&store).len(), SECRETS.len(), "the test can fail");
    drop(store);
    for keys in [
        keys(Some(FIRST), None),
        keys(Some(FIRST), None),
        keys(Some(SECOND), Some(FIRST)),
        keys(Some(SECOND), None),
    ] {
        let what = format!("{keys:?}");
        let store = open(&path, keys).unwrap();
        assert_eq!(readable(&store), Vec::<&str>::new(), "{what}");
        check_whole(&store);
    }
}

#[test]
fn a_missing_or_wrong_key_is_said_before_anything_is_read() {
    let folder = temporary();
    let path = folder.path().join("store");
    fill(&open(&path, keys(Some(FIRST), None)).unwrap());
    let refused = open(&path, Keys::default()).err();
    assert!(matches!(refused, Some(Error::NoKey { .. })), "{refused:?}");
    for wrong in [keys(Some(SECOND), None), keys(Some(SECOND), Some([3; 32]))] {
        let refused = open(&path, wrong).err();
        assert!(matches!(refused, Some(Error::WrongKey { .. })), "{refused:?}");
    }
    check_whole(&open(&path, keys(Some(FIRST), None)).unwrap());
}

#[test]
fn a_change_of_keys_that_was_cut_short_is_finished() {
    let folder = temporary();
    let path = folder.path().join("store");
    let store = open(&path, Keys::default()).unwrap();
    fill(&store);
    // As if the process had ended after the first table: a sealed row and no mark.
    let sealer = super::super::seal::Sealer::new(&keys(Some(FIRST), None));
    let renewed = super::super::long::renew(&store.shared.trees, Tree::Endpoints, |key, value| {
        sealer.seal(Tree::Endpoints, key, value.to_vec()).map(Some)
    });
    assert_eq!(renewed.unwrap(), 1);
    store.close().unwrap();
    drop(store);
    let refused = open(&path, Keys::default()).err();
    assert!(matches!(refused, Some(Error::NoKey { .. })), "{refused:?}");
    let store = open(&path, keys(Some(FIRST), None)).unwrap();
    assert_eq!(readable(&store), Vec::<&str>::new());
    check_whole(&store);
}
