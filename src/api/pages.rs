//! Pages for people that are no part of the console.

use super::reply::Reply;

/// `GET /`: to the documentation.
pub(super) fn root() -> Reply {
    Reply { status: 307, ..Reply::no_content() }.with_header("location", "/docs")
}
