//! Every named limit of the domain. Limits of one module's machinery live with that machinery.

/// Characters of an application's or endpoint's `uid` and of a message's `eventId`.
pub const UID_CHARS: usize = 256;
/// Characters of an event type's name.
pub const EVENT_TYPE_CHARS: usize = 256;
/// Characters of a channel's name.
pub const CHANNEL_CHARS: usize = 128;
/// Channels of one message.
pub const MESSAGE_CHANNELS: usize = 5;
/// Channels of one endpoint.
pub const ENDPOINT_CHANNELS: usize = 10;
/// Event types in one endpoint's list.
pub const ENDPOINT_EVENT_TYPES: usize = 1024;
/// Tags of one message.
pub const MESSAGE_TAGS: usize = 8;
/// Endpoints of one application that are not deleted.
pub const ENDPOINTS_PER_APPLICATION: usize = 10_000;
/// Characters of a name or a description.
pub const DESCRIPTION_CHARS: usize = 1024;
/// Entries in a metadata map.
pub const METADATA_ENTRIES: usize = 50;
/// Characters of one metadata key or value.
pub const METADATA_CHARS: usize = 512;
/// Custom headers of one endpoint.
pub const CUSTOM_HEADERS: usize = 20;
/// Old secrets of one endpoint that are still signed with.
pub const OLD_SECRETS: usize = 10;
/// Entries in a retry schedule.
pub const RETRY_STEPS: usize = 50;
/// Seconds one retry step may wait: 7 days.
pub const RETRY_STEP_SECONDS: u64 = 7 * 24 * 3600;
/// Seconds `Retry-After` may extend a wait to: 24 hours.
pub const RETRY_AFTER_SECONDS: u64 = 24 * 3600;
/// Bytes of an answer's body that are kept.
pub const RESPONSE_BYTES: usize = 16 * 1024;
/// Rows on a page.
pub const PAGE_ROWS: usize = 250;
/// Bytes of an event type's schemas, together.
pub const SCHEMAS_BYTES: usize = 256 * 1024;
/// Levels of nesting of a payload: what JSON parsers take that call themselves for each level.
pub const JSON_DEPTH: usize = 128;
