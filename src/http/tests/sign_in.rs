//! Who may do what: keys, roles, links, cookies.

use super::*;
use crate::proto::audit::{Event, Success};

const PAGE: [(&str, &str); 2] = [("X-Tonewall", "panel"), ("Sec-Fetch-Site", "same-origin")];

impl Gateway {
    async fn enter(&self, secret: &str) -> String {
        self.fake
            .add_key(KeyKind::PanelLink, Role::Agent, "acme", secret);
        let response = self
            .link(secret)
            .header("Sec-Fetch-Site", "none")
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), 303);
        assert_eq!(response.headers()["location"], "/");
        let cookie = response.headers()["set-cookie"].to_str().unwrap();
        cookie.split(';').next().unwrap().to_owned()
    }

    fn link(&self, secret: &str) -> reqwest::RequestBuilder {
        self.client
            .get(self.url(&format!("/panel/enter?link={secret}")))
    }

    fn with_cookie(&self, path: &str, cookie: &str) -> reqwest::RequestBuilder {
        self.client
            .post(self.url(path))
            .header("Cookie", format!("theme=dark; {cookie}"))
            .header("Idempotency-Key", "k")
            .json(&new_payment("INV-1"))
    }
}

#[tokio::test]
async fn roles_may_do_what_is_theirs() {
    let gateway = Gateway::start();
    let id = gateway.payment("INV-1").await;
    let reads = [
        "/v1/calls",
        "/v1/calls/call-1@pbx",
        "/v1/payments",
        &format!("/v1/payments/{id}"),
        "/v1/events",
        &format!("/v1/payments/{id}/events"),
    ];
    let writes = [
        "/v1/payments",
        &format!("/v1/payments/{id}/capture"),
        &format!("/v1/payments/{id}/complete"),
        &format!("/v1/payments/{id}/cancel"),
    ];
    for secret in [AGENT, "tw_integration"] {
        for path in reads {
            let response = gateway
                .client
                .get(gateway.url(path))
                .bearer_auth(secret)
                .send()
                .await;
            assert_eq!(response.unwrap().status(), 200, "{path}");
        }
    }
    for secret in ["tw_auditor", "tw_administrator"] {
        for path in reads {
            let request = gateway.client.get(gateway.url(path)).bearer_auth(secret);
            problem(request.send().await.unwrap(), 403, "role-refused").await;
        }
        for path in writes {
            let request = gateway.client.post(gateway.url(path)).bearer_auth(secret);
            problem(request.send().await.unwrap(), 403, "role-refused").await;
        }
        let session = gateway
            .client
            .get(gateway.url("/v1/session"))
            .bearer_auth(secret);
        assert_eq!(session.send().await.unwrap().status(), 200);
    }
    assert_eq!(gateway.refusals.counts().access, 20);
    let inner = gateway.fake.lock();
    assert_eq!(inner.records.len(), 20);
    for (tenant, record) in &inner.records {
        assert_eq!(tenant.as_ref().unwrap().as_str(), "acme");
        assert_eq!(record.success, Success::Failure);
        let Event::AccessRefused { action, .. } = &record.event else {
            panic!("{record:?}");
        };
        assert!(!action.contains(&id), "the route, not what was asked for");
    }
}

#[tokio::test]
async fn without_a_live_secret_nothing_under_v1_answers() {
    let gateway = Gateway::start();
    let key = gateway
        .fake
        .add_key(KeyKind::Api, Role::Agent, "acme", "tw_gone");
    gateway
        .fake
        .lock()
        .keys
        .iter_mut()
        .find(|row| row.id == key)
        .unwrap()
        .revoked = Some(jiff::Timestamp::now());
    gateway
        .fake
        .add_key(KeyKind::PanelLink, Role::Agent, "acme", "link");
    let get = || gateway.client.get(gateway.url("/v1/calls"));
    for request in [
        get(),
        get().bearer_auth("tw_gone"),
        get().bearer_auth("x".repeat(5000)),
        get().bearer_auth("link"),
        get().header("Authorization", "Basic dTpw"),
        get().header("Authorization", "Bearer"),
        get().header("Cookie", "tonewall=stolen"),
        get().header("Cookie", format!("tonewall={AGENT}")),
    ] {
        let response = request.send().await.unwrap();
        assert!(response.headers().contains_key("www-authenticate"));
        problem(response, 401, "not-signed-in").await;
    }
    // An unusable key is not made good by a cookie beside it.
    let cookie = gateway.enter("in").await;
    let both = get().bearer_auth("tw_wrong").header("Cookie", cookie);
    problem(both.send().await.unwrap(), 401, "not-signed-in").await;
}

#[tokio::test]
async fn failed_attempts_are_limited_per_source_and_audited_at_a_bounded_rate() {
    let gateway = Gateway::start();
    let began = std::time::Instant::now();
    let mut looked_at = 0;
    for n in 0..40 {
        let request = gateway
            .client
            .get(gateway.url("/v1/calls"))
            .bearer_auth(format!("tw_{n}"));
        let response = request.send().await.unwrap();
        if response.status() == 401 {
            looked_at += 1;
            problem(response, 401, "not-signed-in").await;
        } else {
            assert!(response.headers().contains_key("retry-after"));
            problem(response, 429, "too-many-attempts").await;
        }
    }
    // Ten at once, and one more each six seconds.
    let more = began.elapsed().as_secs() / 6;
    assert!((10..=10 + more).contains(&looked_at), "{looked_at}");
    for _ in 0..40 {
        let request = gateway
            .client
            .get(gateway.url("/v1/calls"))
            .header("Cookie", "tonewall=x");
        problem(request.send().await.unwrap(), 401, "not-signed-in").await;
    }
    let counts = gateway.refusals.counts();
    assert_eq!(
        (counts.sign_in, counts.throttled),
        (40 + looked_at, 40 - looked_at)
    );
    // Twenty at once, and one more each second.
    let records = gateway.fake.lock().records.len() as u64;
    let more = began.elapsed().as_secs() + 1;
    assert!((20..=20 + more).contains(&records), "{records}");
    assert_eq!(records + counts.summarised, counts.sign_in);
}

#[tokio::test]
async fn whoever_shares_an_address_with_a_guesser_goes_on_working() {
    let gateway = Gateway::start();
    let ask = |secret: &str| {
        let request = gateway.client.get(gateway.url("/v1/calls"));
        request.bearer_auth(secret).send()
    };
    assert_eq!(ask(AGENT).await.unwrap().status(), 200);
    let until_throttled = async |secret: &str| {
        for _ in 0..40 {
            if ask(secret).await.unwrap().status() == 429 {
                return;
            }
        }
        panic!("{secret} may be tried on and on");
    };
    until_throttled("tw_guess").await;
    assert_eq!(ask(AGENT).await.unwrap().status(), 200);
    // A secret that opens nothing any more has no such right.
    for row in &mut gateway.fake.lock().keys {
        row.revoked = Some(jiff::Timestamp::now());
    }
    problem(ask(AGENT).await.unwrap(), 401, "not-signed-in").await;
    until_throttled(AGENT).await;
}

#[tokio::test]
async fn behind_a_proxy_the_panel_works_under_the_proxys_address() {
    let gateway = Gateway::start_with(Fake::new(), |settings| {
        settings.url = Some("https://pay.example.com".into());
    });
    gateway
        .fake
        .add_key(KeyKind::PanelLink, Role::Agent, "acme", "in");
    let entered = gateway.link("in").send().await.unwrap();
    let cookie = entered.headers()["set-cookie"].to_str().unwrap();
    assert!(
        cookie.starts_with("__Host-tonewall=tws_") && cookie.ends_with("; Secure"),
        "{cookie}"
    );
    assert!(entered.headers().contains_key("strict-transport-security"));
    let cookie = cookie.split(';').next().unwrap();
    let change = |origin: &str, site: &str| {
        gateway
            .with_cookie("/v1/payments", cookie)
            .header("X-Tonewall", "panel")
            .header("Origin", origin)
            .header("Sec-Fetch-Site", site)
            .send()
    };
    let evil = change("https://evil.example", "same-origin").await.unwrap();
    problem(evil, 403, "cross-site").await;
    let evil = change("https://pay.example.com", "cross-site").await;
    problem(evil.unwrap(), 403, "cross-site").await;
    // The panel's own: what it lacks is a link to the call.
    let own = change("https://pay.example.com", "same-origin").await;
    problem(own.unwrap(), 409, "link-unconfirmed").await;
}

#[tokio::test]
async fn a_link_opens_the_panel_once() {
    let gateway = Gateway::start();
    gateway
        .fake
        .add_key(KeyKind::PanelLink, Role::Agent, "acme", "once");
    let url = gateway.url("/panel/enter?link=once");
    // Looking ahead does not use it up.
    assert_eq!(
        gateway.client.head(&url).send().await.unwrap().status(),
        204
    );
    let ahead = gateway
        .link("once")
        .header("Sec-Purpose", "prefetch;prerender")
        .send()
        .await;
    assert_eq!(ahead.unwrap().status(), 204);
    // Nor does another site's page that names it as an image or a frame.
    for part in ["image", "iframe", "empty"] {
        let named = gateway.link("once").header("Sec-Fetch-Dest", part).send();
        let named = named.await.unwrap();
        assert_eq!(named.status(), 204);
        assert!(!named.headers().contains_key("set-cookie"));
    }

    let race = (0..8).map(|_| tokio::spawn(gateway.link("once").send()));
    let mut entered = 0;
    for response in race.collect::<Vec<_>>() {
        let response = response.await.unwrap().unwrap();
        if response.status() == 200 {
            entered += 1;
            let cookie = response.headers()["set-cookie"]
                .to_str()
                .unwrap()
                .to_owned();
            for part in [
                "tonewall=tws_",
                "HttpOnly",
                "SameSite=Strict",
                "Path=/",
                "Max-Age=43200",
            ] {
                assert!(cookie.contains(part), "{cookie}");
            }
            assert!(
                !cookie.contains("Secure"),
                "a browser would drop it on plain HTTP"
            );
            let page = response.text().await.unwrap();
            assert!(page.contains("url=/") && !page.contains("once"), "{page}");
        } else {
            assert!(!response.headers().contains_key("set-cookie"));
            problem(response, 401, "link-spent").await;
        }
    }
    assert_eq!(entered, 1);
    let person = gateway
        .link("once")
        .header("Accept", "text/html,*/*")
        .send()
        .await
        .unwrap();
    assert_eq!(person.status(), 401);
    assert!(person.text().await.unwrap().contains("tonewall keys panel"));
    let inner = gateway.fake.lock();
    let signed_in = |event: &Event| matches!(event, Event::SignIn { .. });
    assert_eq!(
        inner
            .records
            .iter()
            .filter(|(_, record)| signed_in(&record.event))
            .count(),
        1
    );
    let session = inner
        .keys
        .iter()
        .find(|row| row.kind == KeyKind::PanelSession)
        .unwrap();
    let lasts = session.expires.unwrap().duration_since(session.created);
    assert_eq!(lasts.as_hours(), 12);
}

#[tokio::test]
async fn nobody_enters_unrecorded() {
    let gateway = Gateway::start();
    gateway
        .fake
        .add_key(KeyKind::PanelLink, Role::Agent, "acme", "dark");
    gateway.fake.lock().audit_broken = true;
    problem(
        gateway.link("dark").send().await.unwrap(),
        503,
        "not-recordable",
    )
    .await;
    assert!(
        gateway
            .fake
            .lock()
            .keys
            .iter()
            .all(|row| row.kind != KeyKind::PanelSession)
    );
}

#[tokio::test]
async fn a_change_by_cookie_has_to_come_from_the_panel_itself() {
    let gateway = Gateway::start();
    let cookie = gateway.enter("in").await;
    let own = format!("http://{}", gateway.address);
    for forged in [
        vec![],
        vec![("Sec-Fetch-Site", "same-origin")],
        vec![("X-Tonewall", "panel")],
        vec![("X-Tonewall", "panel"), ("Sec-Fetch-Site", "cross-site")],
        vec![
            ("X-Tonewall", "panel"),
            ("Sec-Fetch-Site", "same-site"),
            ("Origin", &own),
        ],
        vec![("X-Tonewall", "panel"), ("Sec-Fetch-Site", "none")],
        vec![("X-Tonewall", "panel"), ("Origin", "http://127.0.0.1:1")],
        vec![
            ("X-Tonewall", "panel"),
            ("Origin", "null"),
            ("Sec-Fetch-Site", "same-origin"),
        ],
        vec![("X-Tonewall", "1"), ("Origin", &own)],
        vec![("Origin", &own)],
    ] {
        let request = forged
            .iter()
            .fold(gateway.with_cookie("/v1/payments", &cookie), |r, (k, v)| {
                r.header(*k, *v)
            });
        problem(request.send().await.unwrap(), 403, "cross-site").await;
    }
    assert_eq!(gateway.fake.lock().created, 0);
    let read = gateway
        .client
        .get(gateway.url("/v1/calls"))
        .header("Cookie", &cookie);
    problem(
        read.header("Sec-Fetch-Site", "same-site")
            .send()
            .await
            .unwrap(),
        403,
        "cross-site",
    )
    .await;
    let session = cookie.split_once('=').unwrap().1;
    gateway.link_by_code(session, "call-1@pbx").await;
    let genuine = PAGE
        .iter()
        .fold(gateway.with_cookie("/v1/payments", &cookie), |r, (k, v)| {
            r.header(*k, *v)
        });
    assert_eq!(genuine.send().await.unwrap().status(), 201);
    let old = gateway.with_cookie("/v1/payments/x/cancel", &cookie);
    let old = old
        .header("X-Tonewall", "panel")
        .header("Origin", &own)
        .send()
        .await
        .unwrap();
    problem(old, 404, "unknown-payment").await;
}

#[tokio::test]
async fn a_session_that_was_left_is_over() {
    let gateway = Gateway::start();
    let cookie = gateway.enter("in").await;
    let session = || {
        gateway
            .client
            .get(gateway.url("/v1/session"))
            .header("Cookie", &cookie)
    };
    let who: Value = session().send().await.unwrap().json().await.unwrap();
    assert_eq!(
        (&who["role"], &who["tenant"]),
        (&json!("agent"), &json!("acme"))
    );
    assert_eq!(
        (&who["sandbox"], &who["timeouts"]["inter_digit_seconds"]),
        (&json!(true), &json!(10))
    );
    let forged = gateway
        .with_cookie("/panel/leave", &cookie)
        .send()
        .await
        .unwrap();
    problem(forged, 403, "cross-site").await;
    let leave = PAGE
        .iter()
        .fold(gateway.with_cookie("/panel/leave", &cookie), |r, (k, v)| {
            r.header(*k, *v)
        });
    let left = leave.send().await.unwrap();
    assert_eq!(left.status(), 204);
    assert!(
        left.headers()["set-cookie"]
            .to_str()
            .unwrap()
            .contains("Max-Age=0")
    );
    problem(session().send().await.unwrap(), 401, "not-signed-in").await;
    let by_key = gateway
        .client
        .post(gateway.url("/panel/leave"))
        .bearer_auth(AGENT);
    problem(by_key.send().await.unwrap(), 403, "role-refused").await;
    let inner = gateway.fake.lock();
    assert!(matches!(
        inner.records.last().unwrap().1.event,
        Event::SignOut { .. } | Event::AccessRefused { .. } | Event::SignInRefused { .. }
    ));
    assert!(
        inner
            .records
            .iter()
            .any(|(_, r)| matches!(r.event, Event::SignOut { .. }))
    );
}
