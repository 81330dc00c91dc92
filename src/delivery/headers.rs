//! Which custom headers an endpoint may have.
//!
//! Pure. The API calls it when headers are set, so that the owner hears at once; `attempt`
//! leaves out what fails it, so that an old row can never replace a header of ours.

/// The longest header name, in bytes.
pub const MAX_HEADER_NAME: usize = 64;
/// The longest header value, in bytes.
pub const MAX_HEADER_VALUE: usize = 4096;

/// Names that belong to HTTP, to us or to the machines of clouds.
///
/// `proxy-authorization` and its like are not among them: they end at the receiver, since what we say
/// to a proxy of ours goes before the tunnel to it.
const REFUSED_NAMES: [&str; 14] = [
    "accept-encoding",
    "connection",
    "expect",
    "host",
    "keep-alive",
    "metadata",
    "metadata-flavor",
    "proxy-connection",
    "te",
    "trailer",
    "trailers",
    "transfer-encoding",
    "upgrade",
    "user-agent",
];

/// First parts of such names.
const REFUSED_PREFIXES: [&str; 10] = [
    "content-",
    "posthaste-",
    "svix-",
    "webhook-",
    "x-amz-",
    "x-amzn-",
    "x-aws-ec2-metadata-token",
    "x-azure-",
    "x-fd-",
    "x-goog",
];

/// Why a custom header is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderProblem {
    /// Empty, or not a token of RFC 9110 section 5.6.2.
    #[error("the header name {0:?} is not valid; use letters, digits and -")]
    Name(String),
    /// Longer than [`MAX_HEADER_NAME`].
    #[error("the header name \"{0}\" is longer than {MAX_HEADER_NAME} characters")]
    NameTooLong(String),
    /// A name that is not the endpoint's to set.
    #[error(
        "the header \"{0}\" cannot be set: it belongs to the connection, to the signature or to a cloud's own services"
    )]
    Reserved(String),
    /// Something other than visible ASCII, space and tab.
    #[error(
        "the value of the header \"{0}\" is not valid; use visible ASCII characters, spaces and tabs"
    )]
    Value(String),
    /// Longer than [`MAX_HEADER_VALUE`].
    #[error("the value of the header \"{0}\" is longer than {MAX_HEADER_VALUE} characters")]
    ValueTooLong(String),
}

/// Refuses a custom header that could not be sent, or that would replace one of ours.
pub fn check_custom_header(name: &str, value: &str) -> Result<(), HeaderProblem> {
    if name.is_empty() || !name.bytes().all(is_token) {
        return Err(HeaderProblem::Name(name.chars().take(MAX_HEADER_NAME).collect()));
    }
    if name.len() > MAX_HEADER_NAME {
        return Err(HeaderProblem::NameTooLong(name.to_owned()));
    }
    let has_prefix = |prefix: &&str| {
        name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    };
    if REFUSED_NAMES.iter().any(|it| name.eq_ignore_ascii_case(it))
        || REFUSED_PREFIXES.iter().any(has_prefix)
    {
        return Err(HeaderProblem::Reserved(name.to_owned()));
    }
    if !value.bytes().all(|b| b == b'\t' || (b' '..=b'~').contains(&b)) {
        return Err(HeaderProblem::Value(name.to_owned()));
    }
    if value.len() > MAX_HEADER_VALUE {
        return Err(HeaderProblem::ValueTooLong(name.to_owned()));
    }
    Ok(())
}

/// A character of a header name, RFC 9110 section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_headers_pass() {
        for name in [
            "X-Team",
            "authorization",
            "Cookie",
            "x_y",
            "accept",
            "x-content-type",
            "hosts",
            "Proxy-Authorization",
            "proxy-x",
            "x-amznot",
        ] {
            assert_eq!(check_custom_header(name, "a b\tc~"), Ok(()), "{name}");
        }
        assert_eq!(check_custom_header("x-empty", ""), Ok(()));
    }

    #[test]
    fn reserved_names_are_refused_in_any_case() {
        let names = [
            "host",
            "HOST",
            "Connection",
            "keep-alive",
            "Proxy-Connection",
            "te",
            "Trailer",
            "trailers",
            "Transfer-Encoding",
            "upgrade",
            "Expect",
            "content-length",
            "Content-Encoding",
            "Content-Type",
            "content-md5",
            "Webhook-Id",
            "webhook-signature",
            "svix-id",
            "SVIX-ANYTHING",
            "posthaste-attempt",
            "User-Agent",
            "accept-encoding",
            "X-Amz-Target",
            "X-Amzn-Trace-Id",
            "x-goog-x",
            "x-google-y",
            "x-azure-z",
            "x-fd-healthprobe",
            "Metadata",
            "Metadata-Flavor",
            "X-aws-ec2-metadata-token",
            "x-aws-ec2-metadata-token-ttl-seconds",
        ];
        for name in names {
            let verdict = check_custom_header(name, "v");
            assert_eq!(verdict, Err(HeaderProblem::Reserved(name.to_owned())));
        }
    }

    #[test]
    fn names_and_values_that_could_split_the_request_are_refused() {
        for name in ["", " ", "a b", "a:b", "a\r\nb", "a\0", "ü", "a/b", "(a)"] {
            let verdict = check_custom_header(name, "v");
            assert!(matches!(verdict, Err(HeaderProblem::Name(_))), "{name:?}");
        }
        for value in ["a\r\nhost: x", "a\nb", "a\0b", "\u{7f}", "ü", "\u{1b}[2J"] {
            let verdict = check_custom_header("x-a", value);
            assert!(matches!(verdict, Err(HeaderProblem::Value(_))), "{value:?}");
        }
    }

    #[test]
    fn the_length_limits_are_exact() {
        let name = "n".repeat(MAX_HEADER_NAME);
        let value = "v".repeat(MAX_HEADER_VALUE);
        assert_eq!(check_custom_header(&name, &value), Ok(()));
        let longer = format!("{name}n");
        assert_eq!(check_custom_header(&longer, "v"), Err(HeaderProblem::NameTooLong(longer)));
        let verdict = check_custom_header(&name, &format!("{value}v"));
        assert_eq!(verdict, Err(HeaderProblem::ValueTooLong(name)));
    }
}
