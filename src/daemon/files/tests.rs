//! From files to the store: what is read, what is refused and where, and the difference made.

use std::path::Path as FilePath;

use super::plan::Action;
use super::read::{Lines, read};
use super::*;
use crate::config::load::Environment;
use crate::model::clock::SystemClock;
use crate::model::source::Source;
use crate::store::Options;

struct House {
    folder: tempfile::TempDir,
    files: Files,
}

const SHOP: &str = r#"
[event_types."order.paid"]
description = "An order was paid"
retry_schedule = ["5s", "1m"]

[applications.shop]
name = "Shop"

[applications.shop.endpoints.crm]
url = "https://crm.example.com/hook"
event_types = ["order.paid", "user.*"]
secret = "env:CRM"

[sources.stripe]
provider = "stripe"
application = "shop"
secrets = ["env:STRIPE"]
event_types = { "charge.succeeded" = "order.paid" }
max_body = "64KiB"
dedupe = "1d"
"#;

impl House {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("conf.d")).unwrap();
        let options = Options::trial(
            folder.path().join("store"),
            Arc::new(SystemClock),
            Box::new(|buffer| getrandom::fill(buffer).unwrap()),
        );
        let store = Arc::new(Store::open(options, Box::new(drop)).unwrap());
        let inbound = Arc::new(Inbound::new(Arc::clone(&store), "https://h.example"));
        let files = Files::new(store, inbound, false, AddressPolicy::default());
        Self { folder, files }
    }

    fn conf_d(&self) -> PathBuf {
        self.folder.path().join("conf.d")
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.conf_d().join(name), text).unwrap();
    }

    fn read(&self) -> Result<(Declaration, Lines), Problems> {
        let environment = Environment::from([
            ("STRIPE".to_owned(), "whsec_live_1".to_owned()),
            ("CRM".to_owned(), "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX".to_owned()),
        ]);
        read(&self.conf_d(), &environment)
    }

    fn apply(&self) -> Result<Vec<Change>, Refused> {
        let (wanted, lines) = self.read()?;
        self.files.apply(&wanted, &lines)
    }

    /// What was done, in short.
    fn applied(&self) -> Vec<String> {
        let changes = self.apply().unwrap_or_else(|refused| panic!("{refused}"));
        let short = |change: Change| {
            let sign = match change.action {
                Action::Create => '+',
                Action::Update => '~',
                Action::Adopt => '=',
                Action::Delete => '-',
            };
            format!("{sign}{} {} {}", change.kind, change.name, change.fields.join(","))
                .trim()
                .to_owned()
        };
        changes.into_iter().map(short).collect()
    }

    fn refusal(&self) -> String {
        self.apply().map(|changes| format!("applied {changes:?}")).unwrap_err().to_string()
    }

    fn source(&self, uid: &str) -> Option<Arc<Source>> {
        let directory = self.files.store.directory();
        directory.find_source(OrgId::default_org(), uid).unwrap()
    }
}

#[test]
fn the_difference_is_made_and_no_more() {
    let house = House::new();
    house.write("10-shop.toml", SHOP);
    let made =
        ["+event type order.paid", "+application shop", "+endpoint shop/crm", "+source stripe"];
    assert_eq!(house.applied(), made);
    let source = house.source("stripe").unwrap();
    assert_eq!((source.max_body, source.dedupe.as_secs()), (65_536, 86_400));
    assert_eq!(source.secrets[0].0, "whsec_live_1");
    assert_eq!(source.metadata["managed-by"], "files");
    assert_eq!(house.applied(), [""; 0], "nothing to change");
    assert_eq!(house.source("stripe").unwrap(), source);

    house.write("10-shop.toml", &SHOP.replace("64KiB", "32KiB").replace("\"1m\"", "\"2m\""));
    assert_eq!(
        house.applied(),
        ["~event type order.paid retry_schedule", "~source stripe max_body"]
    );
    assert_eq!(house.source("stripe").unwrap().token, source.token, "the URL stays");
    house.write("10-shop.toml", SHOP.split("[sources").next().unwrap());
    assert_eq!(house.applied(), ["-source stripe", "~event type order.paid retry_schedule"]);
    assert_eq!(house.source("stripe"), None);
    std::fs::remove_file(house.conf_d().join("10-shop.toml")).unwrap();
    assert_eq!(house.applied(), ["-endpoint crm", "-application shop", "-event type order.paid"]);
    assert_eq!(house.files.store.directory().counts().unwrap(), (0, 0));
    assert!(house.files.store.directory().managed().unwrap().is_empty());
    assert!(house.files.store.check().unwrap().is_clean());
}

#[test]
fn a_source_without_an_application_has_one_of_its_own_and_may_move() {
    let house = House::new();
    house.write("a.toml", "[sources.in]\nprovider = \"generic\"\ntoken = \"0123456789abcdef\"\n");
    assert_eq!(house.applied(), ["+source in"]);
    let source = house.source("in").unwrap();
    assert_eq!((source.owns_app, source.token.as_str()), (true, "0123456789abcdef"));
    assert_eq!(house.applied(), [""; 0]);
    house.write("b.toml", "[applications.shop]\n");
    house.write("a.toml", "[sources.in]\nprovider = \"generic\"\napplication = \"shop\"\ntoken = \"0123456789abcdef\"\n");
    assert_eq!(house.applied(), ["+application shop", "~source in application"]);
    assert!(!house.source("in").unwrap().owns_app);
    assert_eq!(house.applied(), [""; 0]);
}

#[test]
fn what_the_api_made_is_left_alone_or_adopted() {
    let house = House::new();
    house.write("a.toml", "[applications.files]\n");
    house.applied();
    let made = house.files.store.write_and_wait(|writer| {
        let org = OrgId::default_org();
        let old = writer.application(org, "files")?;
        let id = writer.new_application_id();
        let uid = Some("api".to_owned());
        writer.put_application(crate::model::application::Application { id, uid, ..(*old).clone() })
    });
    made.unwrap();
    house.write("a.toml", "");
    assert_eq!(house.applied(), ["-application files"]);
    assert_eq!(house.files.store.directory().counts().unwrap().0, 1);
    house.write("a.toml", "[applications.api]\nname = \"Mine now\"\n");
    assert_eq!(house.applied(), ["=application api name"]);
}

#[test]
fn faults_are_told_with_file_and_line_and_nothing_is_changed() {
    let house = House::new();
    house.write("10-shop.toml", SHOP);
    house.applied();
    let before = house.source("stripe").unwrap();
    for (text, place, what) in [
        ("[sources.x\n", "20.toml:1", "syntax"),
        ("[sources.x]\nprovidr = \"github\"\n", "20.toml:2", "providr"),
        ("[sources.x]\nprovider = \"github\"\n", "20.toml:1", "secret"),
        ("[sources.x]\nprovider = \"github\"\nsecrets = [\"env:NONE\"]\n", "20.toml:3", "NONE"),
        ("[sources.x]\nprovider = \"nobody\"\n", "20.toml:2", "there is no profile"),
        ("\n[sources.stripe]\nprovider = \"generic\"\n", "20.toml:2", "10-shop.toml"),
        ("[sources.x]\nprovider = \"generic\"\napplication = \"none\"\n", "20.toml:3", "none"),
        ("[sources.x]\nprovider = \"generic\"\ntoken = \"short\"\n", "20.toml:3", "token"),
        ("[sources.x]\nprovider = \"generic\"\nmax_body = \"9MiB\"\n", "20.toml:3", "max_body"),
        ("[sources.x]\nprovider = \"generic\"\ndedupe = \"1 week\"\n", "20.toml:3", "1 week"),
        ("[applications.a.endpoints.b]\nurl = \"http://127.0.0.1/\"\n", "20.toml:2", "url"),
        (
            "[applications.a.endpoints.b]\nurl = \"https://x.example\"\nevent_types = [\"not.there\"]\n",
            "20.toml:3",
            "not.there",
        ),
        (
            "[applications.a.endpoints.b]\nurl = \"https://x.example\"\nsecret = \"short\"\n",
            "20.toml:3",
            "secret",
        ),
        (
            "[applications.a.endpoints.b]\nurl = \"https://x.example\"\nheaders = { host = \"x\" }\n",
            "20.toml:3",
            "host",
        ),
        ("[event_types.\"a b\"]\n", "20.toml:1", "a b"),
        (
            "[providers.mine]\ntitle = \"Mine\"\nscheme = \"magic\"\n",
            "20.toml:1",
            "must be one of hmac",
        ),
    ] {
        house.write("20.toml", text);
        let refusal = house.refusal();
        assert!(refusal.contains(place) && refusal.contains(what), "{text}: {refusal}");
        assert!(!refusal.contains("whsec_live"), "{refusal}");
        assert_eq!(house.source("stripe").unwrap(), before, "{text}");
        assert_eq!(house.source("x"), None, "{text}");
    }
    house.write(
        "20.toml",
        "[sources.x]\nprovider = \"github\"\n[sources.y]\nprovider = \"slack\"\n",
    );
    let refusal = house.refusal();
    assert!(
        refusal.contains("20.toml:1") && refusal.contains("20.toml:3"),
        "all at once: {refusal}"
    );
}

#[test]
fn profiles_of_ones_own_are_used_and_kept() {
    let house = House::new();
    house.write(
        "a.toml",
        "[providers.mine]\ntitle = \"Mine\"\nscheme = \"hmac\"\nhash = \"sha256\"\n\
         sig = \"header:x-mine\"\nsig_encoding = \"hex\"\nsigned = \"{body}\"\n\
         [sources.in]\nprovider = \"mine\"\nsecrets = [\"k\"]\n",
    );
    assert_eq!(house.applied(), ["+source in"]);
    assert!(house.files.inbound.providers().get("mine").is_some());
    house.files.inbound.set_providers(Providers::builtin().clone());
    house.files.restore_profiles().unwrap();
    assert!(house.files.inbound.providers().get("mine").is_some(), "after a restart");
}

#[test]
fn files_are_read_in_order_and_only_toml() {
    let house = House::new();
    house.write("a.toml", "[applications.a]\n");
    house.write(".hidden.toml", "nonsense");
    house.write("notes.txt", "nonsense");
    house.write("b.toml", "# empty\n");
    assert_eq!(house.read().unwrap_or_default().0.applications.len(), 1);
    let nowhere = read(FilePath::new("/nonexistent/conf.d"), &Environment::new());
    assert!(nowhere.is_ok_and(|(wanted, _)| wanted == Declaration::default()));
    let big = "#".repeat(usize::try_from(crate::config::limits::CONFIG_FILE).unwrap());
    house.write("b.toml", &big);
    assert!(house.read().is_ok());
    house.write("b.toml", &format!("{big}#"));
    assert!(house.read().is_err_and(|problems| problems.to_string().contains("larger than 1 MiB")));
}

#[test]
fn what_apply_sends_is_what_files_say() {
    let house = House::new();
    house.write("10-shop.toml", SHOP);
    let (wanted, _) = house.read().unwrap_or_default();
    let json = serde_json::to_vec(&wanted).unwrap();
    let back: Declaration = serde_json::from_slice(&json).unwrap();
    assert!(back == wanted);
    let plan = Declared::plan(&house.files, &json).unwrap();
    assert_eq!(plan.as_array().unwrap().len(), 4, "{plan}");
    assert_eq!(house.source("stripe"), None, "a plan changes nothing");
    Declared::apply(&house.files, &json).unwrap();
    assert!(house.source("stripe").is_some());
    assert!(Declared::apply(&house.files, b"{\"sorces\":{}}").unwrap_err()[0].contains("sorces"));
}

#[test]
fn the_reference_is_sound_and_names_every_key() {
    let house = House::new();
    house.write("reference.toml", include_str!("../../../data/conf.d.toml"));
    let environment = Environment::from([
        ("STRIPE_SECRET".to_owned(), "whsec_live_1".to_owned()),
        ("STRIPE_TOKEN".to_owned(), "0123456789abcdef".to_owned()),
        ("CRM_SECRET".to_owned(), "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX".to_owned()),
    ]);
    let (wanted, lines) = read(&house.conf_d(), &environment).unwrap_or_else(|p| panic!("{p}"));
    let applied = house.files.apply(&wanted, &lines).unwrap_or_else(|refused| panic!("{refused}"));
    assert_eq!(applied.len(), 4);
    let json = serde_json::to_value(&wanted).unwrap();
    for (place, count) in [
        ("/event_types/order.paid", 6),
        ("/applications/shop", 4),
        ("/applications/shop/endpoints/crm", 10),
        ("/sources/stripe", 16),
    ] {
        let keys = json.pointer(place).and_then(serde_json::Value::as_object).unwrap();
        assert_eq!(keys.len(), count, "{place} has a key that is not described: {keys:?}");
        // What is left out is null: every key of the reference has a value.
        assert!(keys.values().all(|value| !value.is_null()), "{place}: {keys:?}");
    }
}
