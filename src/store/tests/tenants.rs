//! Applications, endpoints and event types.

use super::super::Error;
use super::*;
use crate::model::event_type::EventType;
use crate::model::limits::ENDPOINTS_PER_APPLICATION;

fn named(shelf: &Shelf, uid: &str) -> Result<AppId> {
    let uid = Some(uid.to_owned());
    shelf
        .write(move |w| w.put_application(Application { uid, ..new_application(w) }))
        .map(|app| app.id)
}

fn delete(shelf: &Shelf, app: AppId) {
    let tenant = shelf.store.directory().tenant(app).unwrap().unwrap();
    let app = Application { deleted: true, ..Application::clone(&tenant.app) };
    shelf.write(move |writer| writer.put_application(app)).unwrap();
}

#[test]
fn a_uid_belongs_to_one_application_until_that_is_deleted() {
    let shelf = Shelf::new();
    let first = named(&shelf, "acme").unwrap();
    let again = named(&shelf, "acme");
    assert!(
        matches!(&again, Err(Error::Conflict { field: "uid", value }) if value == "acme"),
        "{again:?}"
    );
    let org = OrgId::default_org();
    let find = |shelf: &Shelf, name: &str| {
        shelf.store.directory().find_tenant(org, name).unwrap().map(|tenant| tenant.app.id)
    };
    assert_eq!(find(&shelf, "acme"), Some(first));
    assert_eq!(find(&shelf, &first.to_string()), Some(first));
    delete(&shelf, first);
    assert_eq!(find(&shelf, "acme"), None);
    assert_eq!(find(&shelf, &first.to_string()), None);
    let second = named(&shelf, "acme").unwrap();
    let shelf = shelf.reopened();
    assert_eq!(find(&shelf, "acme"), Some(second), "after a restart too");
    shelf.check();
}

#[test]
fn a_uid_belongs_to_one_endpoint_of_an_application() {
    let shelf = Shelf::new();
    let (app, other) = (shelf.app, named(&shelf, "other").unwrap());
    let put = |app| {
        let uid = Some("in".to_owned());
        shelf.write(move |w| w.put_endpoint(Endpoint { uid, ..new_endpoint(w, app) }))
    };
    let first = put(app).unwrap();
    assert!(matches!(put(app), Err(Error::Conflict { field: "uid", .. })));
    put(other).unwrap();
    // It may keep its own uid, and give it away.
    shelf.change(first.id, |endpoint| endpoint.description = "same".to_owned());
    shelf.change(first.id, |endpoint| endpoint.uid = None);
    let second = put(app).unwrap();
    shelf.change(second.id, |endpoint| endpoint.deleted = true);
    put(app).unwrap();
    let missing = put(AppId([3; 20]));
    assert!(matches!(missing, Err(Error::NotFound("application"))), "{missing:?}");
    shelf.check();
}

#[test]
fn an_application_takes_its_endpoints_with_it() {
    let shelf = Shelf::new();
    let endpoint = shelf.endpoint();
    shelf.accept();
    shelf.heard();
    delete(&shelf, shelf.app);
    assert_eq!(shelf.heard().changed, [endpoint]);
    assert_eq!(shelf.store.directory().endpoint(endpoint).unwrap(), None);
    assert_eq!(shelf.store.directory().counts().unwrap(), (0, 0));
    let app = shelf.app;
    let refused = shelf.write(move |w| w.accept(app, new_message(b"{}")));
    assert!(matches!(refused, Err(Error::NotFound("application"))), "{refused:?}");
    shelf.check();
    let shelf = shelf.reopened();
    assert_eq!(shelf.store.directory().counts().unwrap(), (0, 0), "after a restart too");
}

#[test]
fn all_of_an_endpoint_comes_back_after_a_restart() {
    let shelf = Shelf::new();
    let id = shelf.endpoint_with(|endpoint| {
        endpoint.uid = Some("uid".to_owned());
        endpoint.description = "text".to_owned();
        endpoint.event_types = Some(vec!["a.b".to_owned()]);
        endpoint.channels = Some(vec!["c".to_owned()]);
        endpoint.throttle_rate = Some(7);
        endpoint.ordered = true;
        endpoint.metadata.insert("k".to_owned(), "v".to_owned());
        endpoint.headers.insert("x-a".to_owned(), "1".to_owned());
        endpoint.secrets.push(LiveSecret {
            key: SigningKey::ed25519_from_random([8; 32]),
            expires_at: Some(Timestamp(5)),
        });
    });
    let before = shelf.store.directory().endpoint(id).unwrap().unwrap();
    let shelf = shelf.reopened();
    assert_eq!(shelf.store.directory().endpoint(id).unwrap().unwrap(), before);
}

#[test]
fn an_application_may_have_so_many_endpoints_and_no_more() {
    let shelf = Shelf::new();
    let app = shelf.app;
    let full = shelf.write(move |writer| {
        for _ in 0..ENDPOINTS_PER_APPLICATION {
            let endpoint = new_endpoint(writer, app);
            writer.put_endpoint(endpoint)?;
        }
        let one_more = new_endpoint(writer, app);
        Ok(writer.put_endpoint(one_more))
    });
    assert!(matches!(full, Ok(Err(Error::Limit(_)))), "{full:?}");
    let tenant = shelf.store.directory().tenant(app).unwrap().unwrap();
    let first = *tenant.endpoints.keys().next().unwrap();
    shelf.change(first, |endpoint| endpoint.description = "may still be changed".to_owned());
    shelf.change(first, |endpoint| endpoint.deleted = true);
    shelf.endpoint();
}

#[test]
fn event_types_are_listed_by_name_and_can_be_removed() {
    let shelf = Shelf::new();
    let org = OrgId::default_org();
    for name in ["b.two", "a.one", "c.three"] {
        shelf
            .write(move |writer| {
                writer.put_event_type(EventType {
                    org,
                    name: name.to_owned(),
                    description: String::new(),
                    archived: false,
                    deprecated: false,
                    schemas: None,
                    feature_flags: Vec::new(),
                    group_name: None,
                    retry_schedule: Some(vec![Duration::from_millis(1500)]),
                    created_at: START,
                    updated_at: START,
                })
            })
            .unwrap();
    }
    shelf.write(move |writer| writer.remove_event_type(org, "b.two")).unwrap();
    let shelf = shelf.reopened();
    let found = shelf.store.directory().event_types(org).unwrap();
    let names: Vec<_> = found.iter().map(|event_type| event_type.name.as_str()).collect();
    assert_eq!(names, ["a.one", "c.three"]);
    assert_eq!(found[0].retry_schedule, Some(vec![Duration::from_millis(1500)]));
}

#[test]
fn pages_of_applications_go_both_ways() {
    let shelf = Shelf::new();
    let mut ids = vec![shelf.app];
    ids.extend((0..4).map(|n| named(&shelf, &n.to_string()).unwrap()));
    let org = OrgId::default_org();
    let page = |from, descending| -> Vec<AppId> {
        let found = shelf.store.directory().applications(org, from, descending, 3).unwrap();
        found.iter().map(|app| app.id).collect()
    };
    assert_eq!(page(None, false), ids[..3]);
    assert_eq!(page(Some(ids[2]), false), ids[3..]);
    let backwards: Vec<_> = ids.iter().rev().copied().collect();
    assert_eq!(page(None, true), backwards[..3]);
    assert_eq!(page(Some(ids[2]), true), backwards[3..]);
    let other = OrgId([1; 20]);
    assert!(shelf.store.directory().applications(other, None, false, 3).unwrap().is_empty());
}
