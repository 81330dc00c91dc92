//! Keys: fixed width, big-endian, written by hand, so that the order of bytes is the order of
//! values. Never bincode: its integers are little-endian.
//!
//! A byte once given a meaning here keeps it for ever.

use std::ops::RangeInclusive;

use crate::model::clock::Timestamp;
use crate::model::delivery::QueueKey;
use crate::model::id::{AppId, AttemptId, EndpointId, ID_BYTES, MessageId, OrgId};

/// Two ids, one behind the other.
pub const PAIR_BYTES: usize = 2 * ID_BYTES;
/// `endpoint_id ‖ be(due_at_ms) ‖ message_id`.
pub const QUEUE_BYTES: usize = 2 * ID_BYTES + 8;

/// Two raw ids as one key.
pub fn pair(first: &[u8; ID_BYTES], second: &[u8; ID_BYTES]) -> [u8; PAIR_BYTES] {
    let mut key = [0; PAIR_BYTES];
    let (a, b) = key.split_at_mut(ID_BYTES);
    a.copy_from_slice(first);
    b.copy_from_slice(second);
    key
}

/// The two raw ids of a key made by [`pair`].
pub fn split_pair(key: &[u8]) -> Option<([u8; ID_BYTES], [u8; ID_BYTES])> {
    let (a, b) = key.split_at_checked(ID_BYTES)?;
    Some((a.try_into().ok()?, b.try_into().ok()?))
}

/// `org_id ‖ app_id`.
pub fn application(org: OrgId, app: AppId) -> [u8; PAIR_BYTES] {
    pair(&org.0, &app.0)
}

/// `app_id ‖ endpoint_id`.
pub fn endpoint(app: AppId, endpoint: EndpointId) -> [u8; PAIR_BYTES] {
    pair(&app.0, &endpoint.0)
}

/// `app_id ‖ message_id`.
pub fn message(app: AppId, message: MessageId) -> [u8; PAIR_BYTES] {
    pair(&app.0, &message.0)
}

/// `message_id ‖ endpoint_id`.
pub fn delivery(message: MessageId, endpoint: EndpointId) -> [u8; PAIR_BYTES] {
    pair(&message.0, &endpoint.0)
}

/// `endpoint_id ‖ attempt_id`.
pub fn attempt(endpoint: EndpointId, attempt: AttemptId) -> [u8; PAIR_BYTES] {
    pair(&endpoint.0, &attempt.0)
}

/// `message_id ‖ attempt_id`.
pub fn attempt_of_message(message: MessageId, attempt: AttemptId) -> [u8; PAIR_BYTES] {
    pair(&message.0, &attempt.0)
}

/// An id and a name behind it: `org_id ‖ name`, `app_id ‖ eventId`.
pub fn named(id: &[u8; ID_BYTES], name: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(ID_BYTES + name.len());
    key.extend_from_slice(id);
    key.extend_from_slice(name.as_bytes());
    key
}

/// An id and a chunk number: `message_id ‖ be(chunk u16)`.
pub fn chunk(id: &[u8; ID_BYTES], chunk: u16) -> [u8; ID_BYTES + 2] {
    let mut key = [0; ID_BYTES + 2];
    let (a, b) = key.split_at_mut(ID_BYTES);
    a.copy_from_slice(id);
    b.copy_from_slice(&chunk.to_be_bytes());
    key
}

/// A moment and two ids behind it: what expires first comes first.
pub fn timed(at: Timestamp, app: AppId, message: MessageId) -> [u8; 8 + PAIR_BYTES] {
    let mut key = [0; 8 + PAIR_BYTES];
    let (a, b) = key.split_at_mut(8);
    a.copy_from_slice(&at.0.to_be_bytes());
    b.copy_from_slice(&pair(&app.0, &message.0));
    key
}

/// The moment and the ids of a key made by [`timed`].
pub fn split_timed(key: &[u8]) -> Option<(Timestamp, AppId, MessageId)> {
    let (at, rest) = key.split_first_chunk::<8>()?;
    let (app, message) = split_pair(rest)?;
    Some((Timestamp(u64::from_be_bytes(*at)), AppId(app), MessageId(message)))
}

/// The durable place of a delivery in its endpoint's queue.
pub fn queue(key: &QueueKey) -> [u8; QUEUE_BYTES] {
    let mut bytes = [0; QUEUE_BYTES];
    let (endpoint, rest) = bytes.split_at_mut(ID_BYTES);
    let (due, message) = rest.split_at_mut(8);
    endpoint.copy_from_slice(&key.endpoint.0);
    due.copy_from_slice(&key.due.0.to_be_bytes());
    message.copy_from_slice(&key.message.0);
    bytes
}

/// All places in an endpoint's queue.
pub fn queue_of(endpoint: EndpointId) -> RangeInclusive<QueueKey> {
    let place = |due, byte| QueueKey { endpoint, due, message: MessageId([byte; ID_BYTES]) };
    place(Timestamp(0), 0)..=place(Timestamp(u64::MAX), u8::MAX)
}

/// Reads back a key made by [`queue`].
pub fn split_queue(key: &[u8]) -> Option<QueueKey> {
    let (endpoint, rest) = key.split_first_chunk::<ID_BYTES>()?;
    let (due, message) = rest.split_first_chunk::<8>()?;
    Some(QueueKey {
        endpoint: EndpointId(*endpoint),
        due: Timestamp(u64::from_be_bytes(*due)),
        message: MessageId(message.try_into().ok()?),
    })
}

/// The smallest key that sorts after every key with this prefix; `None` when there is none.
pub fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return Some(end);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn queue_keys() -> impl Strategy<Value = QueueKey> {
        (any::<[u8; 20]>(), any::<u64>(), any::<[u8; 20]>()).prop_map(|(e, due, m)| QueueKey {
            endpoint: EndpointId(e),
            due: Timestamp(due),
            message: MessageId(m),
        })
    }

    proptest! {
        #[test]
        fn queue_round_trips_and_keeps_order(a in queue_keys(), b in queue_keys()) {
            prop_assert_eq!(split_queue(&queue(&a)), Some(a));
            prop_assert_eq!(queue(&a).cmp(&queue(&b)), a.cmp(&b));
        }

        #[test]
        fn pairs_round_trip_and_keep_order(a in any::<([u8; 20], [u8; 20])>(), b in any::<([u8; 20], [u8; 20])>()) {
            prop_assert_eq!(split_pair(&pair(&a.0, &a.1)), Some(a));
            prop_assert_eq!(pair(&a.0, &a.1).cmp(&pair(&b.0, &b.1)), a.cmp(&b));
        }

        #[test]
        fn timed_round_trips_and_keeps_order(a in any::<(u64, [u8; 20], [u8; 20])>(), b in any::<(u64, [u8; 20], [u8; 20])>()) {
            let key = |x: &(u64, [u8; 20], [u8; 20])| timed(Timestamp(x.0), AppId(x.1), MessageId(x.2));
            prop_assert_eq!(split_timed(&key(&a)), Some((Timestamp(a.0), AppId(a.1), MessageId(a.2))));
            prop_assert_eq!(key(&a).cmp(&key(&b)), a.cmp(&b));
        }

        #[test]
        fn chunks_keep_order(id in any::<[u8; 20]>(), a in any::<u16>(), b in any::<u16>()) {
            prop_assert_eq!(chunk(&id, a).cmp(&chunk(&id, b)), a.cmp(&b));
        }

        #[test]
        fn after_prefix_is_the_end_of_the_prefix(prefix in proptest::collection::vec(any::<u8>(), 0..4), tail in proptest::collection::vec(any::<u8>(), 0..4)) {
            let mut key = prefix.clone();
            key.extend(tail);
            match after_prefix(&prefix) {
                Some(end) => prop_assert!(key < end && !end.starts_with(&prefix)),
                None => prop_assert!(prefix.iter().all(|b| *b == 255)),
            }
        }
    }

    #[test]
    fn keys_of_another_length_are_refused() {
        assert_eq!(split_queue(&[0; 47]), None);
        assert_eq!(split_queue(&[0; 49]), None);
        assert_eq!(split_pair(&[0; 39]), None);
        assert_eq!(split_timed(&[0; 47]), None);
    }
}
