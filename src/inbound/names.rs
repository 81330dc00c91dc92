//! From a provider's name for what happened to a valid event type.

use crate::model::limits::EVENT_TYPE_CHARS;
use crate::model::matching::pattern_matches;
use crate::model::source::Source;

/// The event type of a message made of `original`, the provider's own name.
///
/// A name in the source's map becomes what stands there. Any other is spelled as a valid name: a
/// run of characters that cannot stand in one becomes a dot when it holds a separator (`/`, `:`,
/// `,`), else an underscore (`orders/create` → `orders.create`, `Push Hook` → `Push_Hook`). An
/// event without a name is `{provider}.event`.
pub fn event_type(source: &Source, original: Option<&str>) -> String {
    let original = original.unwrap_or_default();
    if let Some(mapped) = source.event_types.get(original) {
        return mapped.clone();
    }
    let mut name = spelled(original);
    if name.is_empty() {
        name = format!("{}.event", spelled(&source.provider));
    }
    let mut name = format!("{}{name}", source.event_type_prefix);
    // Pure ASCII by now, so a byte is a character.
    name.truncate(EVENT_TYPE_CHARS);
    name
}

/// Whether the source wants events of this type.
pub(super) fn is_wanted(source: &Source, event_type: &str) -> bool {
    let filter = source.filter.as_ref();
    filter.is_none_or(|patterns| patterns.iter().any(|p| pattern_matches(p, event_type)))
}

fn spelled(original: &str) -> String {
    let mut name = String::with_capacity(original.len());
    let mut gap = None;
    for c in original.chars() {
        if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') {
            if let Some(filler) = gap.take().filter(|_| !name.is_empty()) {
                name.push(filler);
            }
            name.push(c);
        } else if matches!(c, '/' | ':' | ',') {
            gap = Some('.');
        } else {
            gap = gap.or(Some('_'));
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::clock::Timestamp;
    use crate::model::id::{AppId, OrgId, SourceId};
    use crate::model::name;
    use proptest::prelude::*;

    fn source() -> Source {
        let token = String::new();
        let mut source =
            Source::new(SourceId([1; 20]), OrgId([0; 20]), AppId([2; 20]), token, Timestamp(0));
        source.provider = "shopify".to_owned();
        source
    }

    #[test]
    fn providers_names_become_valid_ones() {
        let mut mapped = source();
        mapped.event_types.insert("orders/paid".to_owned(), "order.paid".to_owned());
        mapped.event_types.insert(String::new(), "shop.unnamed".to_owned());
        for (original, expected) in [
            ("orders/create", "orders.create"),
            ("orders/paid", "order.paid"),
            ("Push Hook", "Push_Hook"),
            ("jira:issue_created", "jira.issue_created"),
            ("pull_request.opened", "pull_request.opened"),
            ("a, b", "a.b"),
            (" /x/ ", "x"),
            ("été", "t"),
            ("", "shop.unnamed"),
        ] {
            assert_eq!(event_type(&mapped, Some(original)), expected, "{original}");
        }
        assert_eq!(event_type(&source(), None), "shopify.event");
        assert_eq!(event_type(&source(), Some("///")), "shopify.event");
        let mut prefixed = source();
        prefixed.event_type_prefix = "shop.".to_owned();
        assert_eq!(event_type(&prefixed, Some("orders/create")), "shop.orders.create");
    }

    #[test]
    fn a_filter_drops_what_it_does_not_name() {
        let mut source = source();
        assert!(is_wanted(&source, "a.b"));
        source.filter = Some(vec!["orders.*".to_owned()]);
        assert!(is_wanted(&source, "orders.create") && !is_wanted(&source, "order.create"));
    }

    proptest! {
        #[test]
        fn every_name_becomes_valid(original in "\\PC{0,300}") {
            let name = event_type(&source(), Some(&original));
            prop_assert_eq!(name::check(&name, EVENT_TYPE_CHARS), Ok(()));
        }
    }
}
