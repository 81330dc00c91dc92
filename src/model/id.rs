//! Ids: a prefix and a 27-character base-62 KSUID with millisecond time.
//!
//! In memory and in keys an id is its 20 raw bytes, big-endian, so that the order of bytes is the
//! order of time. The prefix exists only in text. Ids are made by one [`IdMaker`] in the commit
//! thread and are monotonic within a process: what is accepted later sorts later.

use std::fmt;
use std::str::FromStr;

use svix_ksuid::{KsuidLike as _, KsuidMs};

use super::base62;
use super::clock::Timestamp;

/// Bytes of a raw id.
pub const ID_BYTES: usize = 20;
/// Characters of a raw id in base 62.
pub const ID_CHARS: usize = 27;

/// Why a text is not an id of the kind that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{value:?} is not an id of this kind: it must be {prefix} followed by 27 letters and digits"
)]
pub struct BadId {
    /// What was given, cut to 64 characters.
    pub value: String,
    /// The prefix this kind of id carries.
    pub prefix: &'static str,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; ID_BYTES]);

        impl $name {
            /// The prefix of this kind of id in text.
            pub const PREFIX: &'static str = $prefix;

            /// Milliseconds since 1970 at which the id was made (exact to 4 ms).
            pub fn made_at(&self) -> Timestamp {
                made_at(&self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str($prefix)?;
                f.write_str(std::str::from_utf8(&base62::encode(&self.0)).unwrap_or_default())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = BadId;

            fn from_str(text: &str) -> Result<Self, BadId> {
                parse($prefix, text).map(Self)
            }
        }
    };
}

id!(
    /// An organisation: the environment that operator tokens name.
    OrgId,
    "org_"
);
id!(
    /// An application: a tenant.
    AppId,
    "app_"
);
id!(
    /// An endpoint: a subscription.
    EndpointId,
    "ep_"
);
id!(
    /// A message: one accepted event.
    MessageId,
    "msg_"
);
id!(
    /// An attempt: one HTTP request of a delivery.
    AttemptId,
    "atmpt_"
);
id!(
    /// A background task.
    TaskId,
    "qtask_"
);

id!(
    /// A source: an inbound door.
    SourceId,
    "src_"
);
id!(
    /// A refused inbound request that was kept.
    CaptureId,
    "cap_"
);

impl OrgId {
    /// The organisation every install starts with: the one that the tokens of svix's own tools
    /// name when nothing else is said (`org_23rb8YdGqMT0qIzpgGwdXfHirMu`).
    pub fn default_org() -> Self {
        Self([
            14, 116, 46, 17, 204, 176, 156, 93, 131, 49, 142, 182, 168, 127, 183, 182, 125, 29,
            218, 176,
        ])
    }
}

impl OrgId {
    /// The organisation that operational webhooks are sent from
    /// (`org_00000000000SvixManagement00`): it has one application per organisation, whose uid is
    /// that organisation's id.
    pub fn management() -> Self {
        Self(MANAGEMENT)
    }
}

/// The bytes behind the management organisation's published text.
const MANAGEMENT: [u8; ID_BYTES] =
    [0, 0, 0, 0, 0, 0, 0, 0, 71, 224, 239, 89, 128, 56, 226, 65, 36, 97, 14, 212];

fn parse(prefix: &'static str, text: &str) -> Result<[u8; ID_BYTES], BadId> {
    let bad = || BadId { value: text.chars().take(64).collect(), prefix };
    let rest = text.strip_prefix(prefix).ok_or_else(bad)?;
    if rest.len() != ID_CHARS || !rest.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return Err(bad());
    }
    base62::decode(rest.as_bytes()).ok_or_else(bad)
}

fn made_at(bytes: &[u8; ID_BYTES]) -> Timestamp {
    let ms = KsuidMs::from_bytes(*bytes).timestamp_millis();
    Timestamp(u64::try_from(ms).unwrap_or(0))
}

/// The smallest raw id made at `at`: a bound for ranges of ids by time.
///
/// Ids begin in 2014 and end in 2150: moments outside give the first and the last there is.
pub fn first_at(at: Timestamp) -> [u8; ID_BYTES] {
    let ms = i64::try_from(at.0).unwrap_or(i64::MAX).clamp(FIRST_MS, LAST_MS);
    *KsuidMs::from_millis(Some(ms), Some(&[0; 15])).bytes()
}

/// The moment KSUIDs count from, in milliseconds since 1970.
const FIRST_MS: i64 = 1_400_000_000_000;
/// The last whole second they can hold.
const LAST_MS: i64 = FIRST_MS + u32::MAX as i64 * 1000;

/// Makes ids that never go backwards, whatever the clock does.
///
/// One per process; time and chance are arguments of [`IdMaker::make`].
#[derive(Debug, Default)]
pub struct IdMaker {
    last: [u8; ID_BYTES],
}

impl IdMaker {
    /// A maker whose first id may be any.
    pub fn new() -> Self {
        Self::default()
    }

    /// The next raw id: of time `now` with `random` behind it, or the successor of the last one
    /// when that would not sort later (same 4 ms, or a clock that went back).
    pub fn make(&mut self, now: Timestamp, random: [u8; 15]) -> [u8; ID_BYTES] {
        let ms = i64::try_from(now.0).unwrap_or(i64::MAX);
        let mut next = *KsuidMs::from_millis(Some(ms), Some(&random)).bytes();
        if next <= self.last {
            next = successor(self.last);
        }
        self.last = next;
        next
    }
}

/// The next id in byte order. The random part has 120 bits: it does not run over in practice, and
/// if it did the carry would go into the time, which is still later.
fn successor(mut id: [u8; ID_BYTES]) -> [u8; ID_BYTES] {
    for byte in id.iter_mut().rev() {
        let (sum, carry) = byte.overflowing_add(1);
        *byte = sum;
        if !carry {
            break;
        }
    }
    id
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn default_organisation_is_the_published_one() {
        assert_eq!(OrgId::default_org().to_string(), "org_23rb8YdGqMT0qIzpgGwdXfHirMu");
        assert_eq!(OrgId::management().to_string(), "org_00000000000SvixManagement00");
    }

    #[test]
    fn time_is_kept_to_four_milliseconds() {
        let id = MessageId(IdMaker::new().make(Timestamp(1_790_000_000_123), [7; 15]));
        assert!(1_790_000_000_123 - id.made_at().0 < 4, "{:?}", id.made_at());
    }

    #[test]
    fn bounds_keep_their_order_outside_of_the_time_ids_have() {
        let bounds = [0, 1, 1_400_000_000_000, 1_790_000_000_000, 5_694_967_295_000, u64::MAX]
            .map(|ms| first_at(Timestamp(ms)));
        assert!(bounds.is_sorted(), "{bounds:?}");
        assert_eq!(bounds[0], [0; 20]);
        assert!(bounds[3] > bounds[2] && bounds[4] > bounds[3]);
    }

    #[test]
    fn refuses_what_is_not_an_id() {
        for text in [
            "",
            "msg_",
            "app_23rb8YdGqMT0qIzpgGwdXfHirMu",
            "msg_23rb8YdGqMT0qIzpgGwdXfHirM",
            "msg_23rb8YdGqMT0qIzpgGwdXfHirMu0",
            "msg_zzzzzzzzzzzzzzzzzzzzzzzzzzz",
            "msg_é3rb8YdGqMT0qIzpgGwdXfHirM",
        ] {
            let err = text.parse::<MessageId>().expect_err(text);
            assert_eq!(err.prefix, "msg_");
        }
    }

    proptest! {
        #[test]
        fn text_and_bytes_round_trip(bytes in any::<[u8; 20]>()) {
            let id = EndpointId(bytes);
            prop_assert_eq!(id.to_string().parse::<EndpointId>().unwrap(), id);
        }

        #[test]
        fn ids_are_monotonic_whatever_the_clock_does(
            steps in proptest::collection::vec((1_700_000_000_000u64..1_700_000_100_000, any::<[u8; 15]>()), 1..50)
        ) {
            let mut maker = IdMaker::new();
            let mut last = [0; 20];
            for (now, random) in steps {
                let id = maker.make(Timestamp(now), random);
                prop_assert!(id > last);
                let (a, b) = (MessageId(last).to_string(), MessageId(id).to_string());
                prop_assert!(last == [0; 20] || b > a, "{} {}", a, b);
                last = id;
            }
        }
    }
}
