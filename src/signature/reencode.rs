//! Other spellings of one body: what frameworks and proxies turn it into when they parse it and
//! write it again. Only `diagnose` asks, and only to tell the operator.
//!
//! JSON is rewritten token by token, so numbers, key order and repeated keys stay as they are.

use super::pointer::is_json;

const BOM: &[u8] = b"\xef\xbb\xbf";

/// Spellings to try, each with the end of the sentence "the signature matches the body …".
pub(crate) fn spellings(body: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut all = line_ends(body);
    let without_bom = body.strip_prefix(BOM);
    all.push(match without_bom {
        Some(rest) => ("without its byte order mark", rest.to_vec()),
        None => ("with a byte order mark before it", [BOM, body].concat()),
    });
    let text = std::str::from_utf8(without_bom.unwrap_or(body));
    if let Some(text) = text.ok().filter(|text| is_json(text)) {
        all.extend(json(text));
    }
    all
}

fn line_ends(body: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let trimmed = body.trim_ascii_end();
    let with_crlf = || {
        let mut bytes = Vec::with_capacity(body.len() + 16);
        for (index, byte) in body.iter().enumerate() {
            let bare = *byte == b'\n' && (index == 0 || body.get(index - 1) != Some(&b'\r'));
            bytes.extend_from_slice(if bare { b"\r\n" } else { std::slice::from_ref(byte) });
        }
        bytes
    };
    let mut with_lf = body.to_vec();
    with_lf.retain(|byte| *byte != b'\r');
    vec![
        ("with LF line ends", with_lf),
        ("with CRLF line ends", with_crlf()),
        ("without the white space at its end", trimmed.to_vec()),
        ("with a line feed at its end", [trimmed, b"\n"].concat()),
        ("with CRLF at its end", [trimmed, b"\r\n"].concat()),
    ]
}

type Rewrite = fn(&str) -> String;

fn json(text: &str) -> Vec<(&'static str, Vec<u8>)> {
    let layouts: [(&str, Rewrite); 4] = [
        ("with its JSON as it is", str::to_owned),
        ("with its JSON written without spaces", |text| lay_out(text, Layout::Compact)),
        ("with its JSON written with spaces after `,` and `:`", |text| {
            lay_out(text, Layout::Spaced)
        }),
        ("with its JSON indented", |text| lay_out(text, Layout::Indented)),
    ];
    let escapes: [(&str, Rewrite); 5] = [
        ("", str::to_owned),
        ("with its non-ASCII characters escaped", to_ascii),
        ("with its \\u escapes undone", from_ascii),
        ("with its slashes escaped", |text| from_slash(text).replace('/', "\\/")),
        ("with its slashes not escaped", from_slash),
    ];
    let mut all = Vec::with_capacity(layouts.len() * escapes.len());
    for (layout_name, layout) in layouts {
        let laid_out = layout(text);
        for (escape_name, escape) in escapes {
            let name = if escape_name.is_empty() { layout_name } else { escape_name };
            all.push((name, escape(&laid_out).into_bytes()));
        }
    }
    all
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Layout {
    Compact,
    /// As Python's `json.dumps` does.
    Spaced,
    /// By two spaces, as `JSON.stringify(value, null, 2)` does.
    Indented,
}

fn lay_out(text: &str, layout: Layout) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 4);
    let (mut in_string, mut escaped, mut depth) = (false, false, 0_usize);
    let mut chars = text.chars().peekable();
    let new_line = |out: &mut String, depth: usize| {
        out.push('\n');
        // Deeper than any real document: the spelling will not match, and need not be made.
        out.extend(std::iter::repeat_n("  ", depth.min(64)));
    };
    while let Some(next) = chars.next() {
        if in_string {
            out.push(next);
            in_string = escaped || next != '"';
            escaped = !escaped && next == '\\';
            continue;
        }
        match next {
            ' ' | '\t' | '\n' | '\r' => continue,
            '"' => in_string = true,
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                if layout == Layout::Indented && !out.ends_with(['{', '[']) {
                    new_line(&mut out, depth);
                }
            }
            _ => {}
        }
        out.push(next);
        match (next, layout) {
            ('{' | '[', _) => {
                depth += 1;
                while chars.next_if(char::is_ascii_whitespace).is_some() {}
                let empty = chars.peek().is_some_and(|c| matches!(c, '}' | ']'));
                if layout == Layout::Indented && !empty {
                    new_line(&mut out, depth);
                }
            }
            (',', Layout::Indented) => new_line(&mut out, depth),
            (',' | ':', Layout::Spaced) | (':', Layout::Indented) => out.push(' '),
            _ => {}
        }
    }
    out
}

fn to_ascii(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut units = [0; 2];
    for next in text.chars() {
        if next.is_ascii() {
            out.push(next);
            continue;
        }
        for unit in next.encode_utf16(&mut units) {
            let digits = [12, 8, 4, 0].map(|shift| *unit >> shift & 15);
            out.push_str("\\u");
            out.extend(digits.iter().filter_map(|digit| char::from_digit(u32::from(*digit), 16)));
        }
    }
    out
}

/// Undoes `\uXXXX` for characters beyond ASCII; a backslash that is itself escaped stays.
fn from_ascii(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        out.push_str(before);
        let length = match unit(escape) {
            Some(high @ 0xd800..=0xdbff) => {
                let low = escape.get(6..).and_then(unit);
                push(&mut out, &[Some(high), low].into_iter().flatten().collect::<Vec<_>>(), 12)
            }
            Some(unit) => push(&mut out, &[unit], 6),
            None => None,
        };
        // Not such an escape: the backslash and what it escapes pass as they are.
        let length = length.unwrap_or_else(|| {
            let kept = escape.chars().take(2).map(char::len_utf8).sum();
            out.push_str(escape.get(..kept).unwrap_or_default());
            kept
        });
        rest = escape.get(length..).unwrap_or_default();
    }
    out.push_str(rest);
    out
}

/// The UTF-16 unit of an escape at the start of the text.
fn unit(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    let hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if hex { u16::from_str_radix(digits, 16).ok() } else { None }
}

fn push(out: &mut String, units: &[u16], length: usize) -> Option<usize> {
    let text = String::from_utf16(units).ok().filter(|text| !text.is_ascii())?;
    out.push_str(&text);
    Some(length)
}

fn from_slash(text: &str) -> String {
    text.replace("\\/", "/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(from: &str, to: &str) {
        let all = spellings(from.as_bytes());
        let found = all.iter().any(|(_, bytes)| bytes == to.as_bytes());
        assert!(found, "{from:?} is never spelled {to:?}");
    }

    #[test]
    fn common_rewritings_are_undone() {
        let compact = r#"{"a":[1,{}],"b":"x: \", y","c":[]}"#;
        let spaced = r#"{"a": [1, {}], "b": "x: \", y", "c": []}"#;
        let indented =
            "{\n  \"a\": [\n    1,\n    {}\n  ],\n  \"b\": \"x: \\\", y\",\n  \"c\": []\n}";
        for from in [compact, spaced, indented] {
            for to in [compact, spaced, indented] {
                check(from, to);
            }
        }
        check(r#"{"a":"Zoë 𝄞"}"#, r#"{"a":"Zo\u00eb \ud834\udd1e"}"#);
        check(r#"{"a":"Zo\u00eb \uD834\uDD1E \\u00eb \u0041"}"#, r#"{"a":"Zoë 𝄞 \\u00eb \u0041"}"#);
        check(r#"{"a":"x/y"}"#, r#"{"a":"x\/y"}"#);
        check(r#"{"a":"x\/y"}"#, r#"{"a":"x/y"}"#);
        check("a\r\nb\r\n", "a\nb\n");
        check("a\nb", "a\r\nb");
        check("{}", "{}\r\n");
        check("{}\n", "{}");
        check("\u{feff}{}", "{}");
        check("{}", "\u{feff}{}");
    }

    proptest! {
        #[test]
        fn any_bytes_have_spellings(body: Vec<u8>, text in "\\PC{0,40}") {
            let _ = spellings(&body);
            let _ = json(&text);
            let escapes = json(&text.replace('a', "\\u").replace('b', "\\ud83"));
            prop_assert_eq!(escapes.len(), 20);
        }
    }
}
