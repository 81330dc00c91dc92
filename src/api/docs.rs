//! The document of the API: as JSON for tools, as a page for people.
//!
//! `data/openapi.json` is written by hand and held to the router and to every answer by the tests.
//! The page is made from it: no scripts, nothing from elsewhere.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;

use super::reply::Reply;

/// The document.
pub(super) const DOCUMENT: &str = include_str!("../../data/openapi.json");

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b1f24;background:#fff}\
h1,h2,h3{line-height:1.2}h3{margin:2rem 0 .3rem;font-size:1rem;font-weight:600}\
code,pre{font:13px/1.5 ui-monospace,monospace}code{background:#f2f4f7;padding:.1rem .3rem;border-radius:3px}\
pre{background:#f2f4f7;padding:.8rem;overflow-x:auto}.m{display:inline-block;min-width:4rem;font-weight:700;color:#0b57a4}\
table{border-collapse:collapse;margin:.5rem 0}td,th{border-bottom:1px solid #d7dce2;padding:.2rem .8rem .2rem 0;text-align:left;vertical-align:top}\
nav ul{columns:2;padding-left:1.2rem}a{color:#0b57a4}\
@media(prefers-color-scheme:dark){body{color:#e3e7ec;background:#14171a}code,pre{background:#20252b}a,.m{color:#79b8ff}td,th{border-color:#343b43}}";

#[derive(Deserialize)]
struct Document {
    info: Info,
    paths: BTreeMap<String, BTreeMap<String, Operation>>,
    components: Components,
}

#[derive(Deserialize)]
struct Info {
    title: String,
    description: String,
}

#[derive(Deserialize)]
struct Components {
    schemas: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Operation {
    #[serde(rename = "operationId")]
    id: String,
    summary: String,
    #[serde(default)]
    description: String,
    tags: Vec<String>,
    #[serde(default)]
    parameters: Vec<Parameter>,
    #[serde(default)]
    request_body: Option<Content>,
    responses: BTreeMap<String, Content>,
}

/// One by reference has no name: those are the same everywhere.
#[derive(Deserialize)]
struct Parameter {
    #[serde(default)]
    name: String,
    #[serde(default, rename = "in")]
    place: String,
    #[serde(default)]
    description: String,
}

#[derive(Deserialize)]
struct Content {
    #[serde(default)]
    content: BTreeMap<String, Media>,
}

#[derive(Deserialize)]
struct Media {
    schema: Value,
}

/// `GET /api/v1/openapi.json`
pub(super) fn json() -> Reply {
    Reply::bytes(200, DOCUMENT)
}

/// `GET /docs`
pub(super) fn page() -> Reply {
    static PAGE: OnceLock<String> = OnceLock::new();
    let page = PAGE.get_or_init(|| {
        let document = serde_json::from_str(DOCUMENT).map_err(|err| err.to_string());
        let page = document.and_then(|d| render(&d).map_err(|err| err.to_string()));
        // A test reads it the same way.
        page.unwrap_or_else(|err| {
            format!("<!doctype html><title>Posthaste</title><p>{}", escape(&err))
        })
    });
    let style = STANDARD.encode(ring::digest::digest(&ring::digest::SHA256, STYLE.as_bytes()));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let mut reply = Reply::bytes(200, page.clone());
    reply.content_type = "text/html; charset=utf-8";
    reply.with_header("content-security-policy", &policy)
}

fn render(document: &Document) -> Result<String, std::fmt::Error> {
    let mut by_tag: BTreeMap<&str, Vec<(&str, &str, &Operation)>> = BTreeMap::new();
    for (path, methods) in &document.paths {
        for (method, operation) in methods {
            let tag = operation.tags.first().map_or("", String::as_str);
            by_tag.entry(tag).or_default().push((method, path, operation));
        }
    }
    let mut page = String::with_capacity(128 * 1024);
    write!(
        page,
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title} API</title><style>{STYLE}</style></head><body><h1>{title} API</h1><p>{about}</p>\
         <p>For tools: <a href=\"/api/v1/openapi.json\">openapi.json</a> (OpenAPI 3.1).</p><nav><ul>",
        title = escape(&document.info.title),
        about = escape(&document.info.description),
    )?;
    for tag in by_tag.keys() {
        write!(page, "<li><a href=\"#{}\">{}</a></li>", anchor(tag), escape(tag))?;
    }
    page.push_str("<li><a href=\"#schemas\">Schemas</a></li></ul></nav><main>");
    for (tag, operations) in &by_tag {
        write!(page, "<h2 id=\"{}\">{}</h2>", anchor(tag), escape(tag))?;
        for (method, path, operation) in operations {
            render_operation(&mut page, method, path, operation)?;
        }
    }
    page.push_str("<h2 id=\"schemas\">Schemas</h2>");
    for (name, schema) in &document.components.schemas {
        let text = serde_json::to_string_pretty(schema).unwrap_or_default();
        write!(
            page,
            "<h3 id=\"schema-{name}\">{name}</h3><pre>{}</pre>",
            escape(&text),
            name = escape(name),
        )?;
    }
    page.push_str("</main></body></html>\n");
    Ok(page)
}

fn render_operation(
    page: &mut String,
    method: &str,
    path: &str,
    operation: &Operation,
) -> std::fmt::Result {
    write!(
        page,
        "<h3 id=\"{id}\"><span class=\"m\">{method}</span> <code>{path}</code></h3><p>{summary}. {about}</p>",
        id = escape(&operation.id),
        method = method.to_uppercase(),
        path = escape(path),
        summary = escape(&operation.summary),
        about = escape(&operation.description),
    )?;
    let named: Vec<_> = operation.parameters.iter().filter(|p| !p.name.is_empty()).collect();
    if !named.is_empty() {
        page.push_str("<table>");
        for parameter in named {
            write!(
                page,
                "<tr><td><code>{}</code></td><td>{}</td><td>{}</td></tr>",
                escape(&parameter.name),
                escape(&parameter.place),
                escape(&parameter.description),
            )?;
        }
        page.push_str("</table>");
    }
    page.push_str("<p>");
    if let Some(body) = &operation.request_body {
        write!(page, "Body: {}. ", schema_link(body))?;
    }
    // What every operation may answer is not said at each.
    let own = operation.responses.iter().filter(|(code, content)| {
        !content.content.is_empty() || code.starts_with('2') || code.starts_with('3')
    });
    for (code, content) in own {
        write!(page, "{code}: {}. ", schema_link(content))?;
    }
    page.push_str("</p>");
    Ok(())
}

fn schema_link(content: &Content) -> String {
    let Some((kind, media)) = content.content.iter().next() else { return "no body".to_owned() };
    let name = media.schema.get("$ref").and_then(Value::as_str).and_then(|r| r.rsplit('/').next());
    match name.map(escape) {
        Some(name) => format!("<a href=\"#schema-{name}\">{name}</a>"),
        None => escape(kind),
    }
}

fn anchor(tag: &str) -> String {
    tag.to_lowercase().replace(' ', "-")
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_shows_every_operation_and_no_markup_of_others() {
        let document: Document = serde_json::from_str(DOCUMENT).unwrap();
        let page = render(&document).unwrap();
        for operation in document.paths.values().flat_map(BTreeMap::values) {
            assert!(page.contains(&format!("id=\"{}\"", operation.id)));
        }
        for gone in ["<script", "http://", "src=", "https://"] {
            assert!(!page.contains(gone), "{gone}");
        }
        assert_eq!(escape("<a href=\"&\">"), "&lt;a href=&quot;&amp;&quot;&gt;");
    }
}
