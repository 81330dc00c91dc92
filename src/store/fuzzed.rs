//! Stored bytes, for the fuzzer: a disk, too, is a stranger. Each function reads any bytes and says
//! what kind of outcome that was; what it can read is written again as it was.

use super::records::{
    self, ApplicationRecord, AttemptRecord, DeliveryRecord, EndpointRecord, EventTypeRecord,
    IdempotencyRecord, MessageRecord, QueueRecord,
};
use super::seal::Sealer;
use super::trees::Tree;
use super::{Keys, codec, keys};
use crate::fuzz::kind;
use crate::model::clock::Timestamp;
use crate::model::delivery::QueueKey;
use crate::model::id::{AppId, AttemptId, EndpointId, ID_BYTES, MessageId, OrgId};

const ID: [u8; ID_BYTES] = [7; ID_BYTES];
const KEY: [u8; 32] = [9; 32];

/// A record of any table; the first byte says which.
pub(crate) fn record(bytes: &[u8]) -> u64 {
    let Some((table, row)) = bytes.split_first() else { return 0 };
    let key = QueueKey { endpoint: EndpointId(ID), due: Timestamp(1), message: MessageId(ID) };
    let read = match table % 8 {
        0 => {
            let record = records::read::<ApplicationRecord>(Tree::Applications, row);
            record.map(|r| drop(ApplicationRecord::of(&r.into_domain(OrgId(ID), AppId(ID)))))
        }
        1 => records::read::<EndpointRecord>(Tree::Endpoints, row)
            .and_then(|r| r.into_domain(AppId(ID), EndpointId(ID)))
            .map(|endpoint| {
                let again = codec::encode(&EndpointRecord::of(&endpoint));
                let again = records::read::<EndpointRecord>(Tree::Endpoints, &again).unwrap();
                assert_eq!(again.into_domain(AppId(ID), EndpointId(ID)).unwrap(), endpoint);
            }),
        2 => records::read::<EventTypeRecord>(Tree::EventTypes, row)
            .map(|r| drop(EventTypeRecord::of(&r.into_domain(OrgId(ID), "a".to_owned())))),
        3 => records::read_with_tail::<MessageRecord>(Tree::Messages, row)
            .map(|(r, _)| drop(r.into_domain(AppId(ID), MessageId(ID)))),
        4 => records::read::<QueueRecord>(Tree::Queue, row)
            .and_then(|r| r.into_domain(key))
            .map(|row| assert_eq!(QueueRecord::of(&row).into_domain(key).unwrap(), row)),
        5 => records::read::<DeliveryRecord>(Tree::Deliveries, row)
            .and_then(|r| r.into_domain(MessageId(ID), EndpointId(ID)))
            .map(|delivery| codec::encode(&DeliveryRecord::of(&delivery)))
            .map(drop),
        6 => records::read_with_tail::<AttemptRecord>(Tree::Attempts, row)
            .and_then(|(r, tail)| r.into_domain(EndpointId(ID), AttemptId(ID), tail.to_vec()))
            .map(drop),
        _ => records::read::<IdempotencyRecord>(Tree::Idempotency, row).map(drop),
    };
    kind((table % 8, read.map_err(|err| err.to_string()).is_ok()))
}

/// A sealed row: none but the genuine one opens.
pub(crate) fn sealed(bytes: &[u8]) -> u64 {
    let sealer = Sealer::new(&Keys { current: Some(KEY), old: Some([8; 32]) });
    match sealer.open(Tree::Sources, b"key", bytes) {
        Ok(opened) if bytes.first() == Some(&0xE1) => {
            assert_eq!(*opened, *b"the secret", "a forged row opened");
            1
        }
        Ok(_) => 2,
        Err(err) => kind(std::mem::discriminant(&err)),
    }
}

/// A genuine sealed row to begin with.
pub(crate) fn genuine_sealed() -> Vec<u8> {
    let sealer = Sealer::new(&Keys { current: Some(KEY), old: None });
    sealer.seal(Tree::Sources, b"key", b"the secret".to_vec()).unwrap()
}

/// A key of any table.
pub(crate) fn key(bytes: &[u8]) -> u64 {
    let queue = keys::split_queue(bytes);
    if let Some(key) = &queue {
        assert_eq!(keys::queue(key)[..], *bytes);
    }
    let pair = keys::split_pair(bytes);
    if let Some((a, b)) = &pair {
        assert_eq!(keys::pair(a, b)[..], *bytes);
    }
    kind((queue.is_some(), pair.is_some(), keys::split_timed(bytes).is_some()))
}

/// Rows of every table of [`record`], to begin with.
pub(crate) fn genuine_records() -> Vec<Vec<u8>> {
    use std::sync::Arc;

    use crate::model::delivery::{Delivery, QueueRow, State, Trigger};
    use crate::model::endpoint::{Endpoint, LiveSecret};
    use crate::model::oauth::{AuthMethod, ClientCredentials};
    use crate::model::secret::SigningKey;
    let now = Timestamp(1_790_000_000_000);
    let text = |t: &str| t.to_owned();
    let endpoint = Endpoint {
        uid: Some(text("crm")),
        description: text("about it"),
        disabled: Some(crate::model::endpoint::DisabledReason::Gone),
        event_types: Some(vec![text("order.*")]),
        channels: Some(vec![text("a")]),
        throttle_rate: Some(9),
        ordered: true,
        metadata: [(text("k"), text("v"))].into(),
        secrets: vec![
            LiveSecret { key: SigningKey::symmetric_from_random([7; 32]), expires_at: None },
            LiveSecret { key: SigningKey::ed25519_from_random([7; 32]), expires_at: Some(now) },
        ],
        headers: [(text("x-a"), text("b"))].into(),
        oauth: Some(Arc::new(ClientCredentials {
            token_url: text("https://id.example/token"),
            client_id: text("us"),
            client_secret: text("secret"),
            scope: Some(text("a b")),
            audience: Some(text("c")),
            auth_method: AuthMethod::ClientSecretPost,
        })),
        ..Endpoint::new(EndpointId(ID), AppId(ID), text("https://example.com/hook"), now)
    };
    let key = QueueKey { endpoint: EndpointId(ID), due: now, message: MessageId(ID) };
    let row = QueueRow { key, attempt: 3, trigger: Trigger::Manual, not_before: now };
    let delivery = Delivery {
        message: MessageId(ID),
        endpoint: EndpointId(ID),
        state: State::Pending,
        attempts: 2,
        next_due: Some(now),
        queued_due: Some(now),
        first_attempt: Some(AttemptId(ID)),
        last_attempt: Some(AttemptId(ID)),
        updated_at: now,
    };
    let rows = [
        (1, codec::encode(&EndpointRecord::of(&endpoint))),
        (4, codec::encode(&QueueRecord::of(&row))),
        (5, codec::encode(&DeliveryRecord::of(&delivery))),
    ];
    let mut seeds: Vec<Vec<u8>> =
        rows.into_iter().map(|(table, row)| [vec![table], row].concat()).collect();
    // Of the other tables the version byte and some short texts.
    for table in 0..8 {
        seeds.push([vec![table, codec::VERSION], vec![1, 2, 3, b'a', 0, 1, 0, 0, 5]].concat());
    }
    seeds
}
