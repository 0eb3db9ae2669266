//! Shadow mode's reports over HTTP.

use std::time::Duration;

use super::*;
use crate::{
    proto::shadow::{Packets, Presses, PublishRules, Tally},
    shadow::Shadows,
};

const ODD: &str = "<a> & \"b\"/../'c'?#%";

/// Two trunks of the tenant: one with a report, and one without so far.
pub(super) fn reports() -> Shadows {
    let folder = tempfile::tempdir().unwrap();
    let rules = PublishRules {
        period: Duration::from_secs(60),
        least_calls: 5,
    };
    let shadows = Shadows::open(folder.path(), fake::tenant("acme"), rules).unwrap();
    let at = |clock: &str| format!("2026-11-22T{clock}Z").parse().unwrap();
    let tally = Tally {
        calls: 1,
        keyed_calls: 1,
        packets: Packets {
            came: 100,
            lost: 1,
            ..Packets::default()
        },
        presses: Presses {
            by_event: 3,
            by_tone: 4,
            by_info: 0,
            doubles: 2,
        },
        ..Tally::default()
    };
    for _ in 0..5 {
        shadows.add(&ODD.parse().unwrap(), &tally, at("10:00:00"));
    }
    shadows.add(&"quiet".parse().unwrap(), &tally, at("10:00:00"));
    assert!(shadows.publish(at("10:01:00")).unwrap());
    shadows
}

fn with_reports() -> Gateway {
    let gateway = Gateway::start();
    gateway.fake.lock().shadows = Some(reports());
    gateway
}

async fn fetch(gateway: &Gateway, key: &str, path: &str) -> reqwest::Response {
    let request = gateway.client.get(gateway.url(path)).bearer_auth(key);
    request.send().await.unwrap()
}

fn encoded(name: &str) -> String {
    name.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[tokio::test]
async fn the_report_of_a_trunk_is_found_by_its_name_whatever_is_in_it() {
    let gateway = with_reports();
    let list: Value = fetch(&gateway, "tw_integration", "/v1/shadow")
        .await
        .json()
        .await
        .unwrap();
    let names: Vec<_> = list["trunks"].as_array().unwrap().iter().collect();
    assert_eq!(
        (&names[0]["trunk"], &names[0]["calls"]),
        (&json!(ODD), &json!(5))
    );
    assert_eq!(names[1]["until"], Value::Null);
    document::holds_as(&list, "TrunkList");
    let path = format!("/v1/shadow/{}", encoded(ODD));
    let report: Value = fetch(&gateway, "tw_administrator", &path)
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(report["trunk"], ODD);
    assert_eq!(report["presses"]["total"], 25);
    assert_eq!(report["packets"]["lost_share"], 0.0099);
    document::holds_as(&report, "ShadowReport");
    let picture = fetch(&gateway, "tw_auditor", &format!("{path}/picture.svg")).await;
    assert_eq!(picture.headers()["content-type"], "image/svg+xml");
    let policy = picture.headers()["content-security-policy"]
        .to_str()
        .unwrap();
    assert!(
        policy.contains("default-src 'none'") && !policy.contains("script"),
        "{policy}"
    );
    assert_eq!(
        picture
            .headers()
            .get_all("content-security-policy")
            .iter()
            .count(),
        1
    );
    let picture = picture.text().await.unwrap();
    assert!(picture.contains("&lt;a&gt; &amp; &quot;b&quot;/../&#39;c&#39;?#%"));
    assert!(!picture.contains("<a>"));
}

#[tokio::test]
async fn a_trunk_without_a_report_has_an_empty_one_and_another_tenants_is_not_there() {
    let gateway = with_reports();
    let quiet: Value = fetch(&gateway, "tw_integration", "/v1/shadow/quiet")
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(
        (&quiet["calls"], &quiet["presses"]["total"]),
        (&json!(0), &json!(0))
    );
    document::holds_as(&quiet, "ShadowReport");
    let long = "x".repeat(5_000);
    for name in ["nobody", PAN, &long, "%00", "%ff"] {
        let found = fetch(&gateway, "tw_integration", &format!("/v1/shadow/{name}")).await;
        problem(found, 404, "unknown-trunk").await;
        let path = format!("/v1/shadow/{name}/picture.svg");
        let found = fetch(&gateway, "tw_integration", &path).await;
        problem(found, 404, "unknown-trunk").await;
    }
    let fake = &gateway.fake;
    fake.add_key(KeyKind::Api, Role::Integration, "other", "tw_others");
    let list: Value = fetch(&gateway, "tw_others", "/v1/shadow")
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(list, json!({"trunks": []}));
    let found = fetch(&gateway, "tw_others", "/v1/shadow/quiet").await;
    problem(found, 404, "unknown-trunk").await;
}

#[tokio::test]
async fn agents_and_strangers_see_no_report() {
    let gateway = with_reports();
    for path in [
        "/v1/shadow",
        "/v1/shadow/quiet",
        "/v1/shadow/quiet/picture.svg",
    ] {
        let refused = fetch(&gateway, AGENT, path).await;
        problem(refused, 403, "role-refused").await;
        let refused = gateway.client.get(gateway.url(path)).send().await.unwrap();
        problem(refused, 401, "not-signed-in").await;
    }
}
