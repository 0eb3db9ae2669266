//! Headers, sizes, time-outs, TLS, health.

use super::{stream::read_until, *};
use crate::{http::ServeError, listen::TlsFiles};

#[tokio::test]
async fn every_answer_has_the_security_headers() {
    let gateway = Gateway::start();
    for path in [
        "/",
        "/panel.js",
        "/livez",
        "/nowhere",
        "/v1/calls",
        "/v1/events",
        "/openapi.json",
    ] {
        for request in [
            gateway.get(path),
            gateway.client.get(gateway.url(path)),
            gateway.client.put(gateway.url(path)),
        ] {
            let response = request.send().await.unwrap();
            let headers = response.headers();
            let policy = headers["content-security-policy"].to_str().unwrap();
            for part in [
                "default-src 'none'",
                "script-src 'self';",
                "frame-ancestors 'none'",
                "form-action 'none'",
                "base-uri 'none'",
            ] {
                assert!(policy.contains(part), "{path} {policy}");
            }
            assert!(!policy.contains("unsafe"));
            assert_eq!(headers["x-content-type-options"], "nosniff");
            assert_eq!(headers["cache-control"], "no-store");
            assert_eq!(headers["referrer-policy"], "no-referrer");
            assert!(
                !headers.contains_key("strict-transport-security"),
                "not without TLS"
            );
            assert!(!headers.contains_key("access-control-allow-origin"));
        }
    }
}

#[tokio::test]
async fn the_panels_pages_hold_no_inline_script_or_style() {
    let gateway = Gateway::start();
    let pages = [
        include_str!("../panel/index.html"),
        include_str!("../panel/entered.html"),
        include_str!("../panel/spent.html"),
    ];
    for page in pages {
        for inline in [
            " style=",
            "<style",
            " onclick",
            " onload",
            "javascript:",
            "http:",
            "https:",
        ] {
            assert!(!page.contains(inline), "{inline}");
        }
        assert_eq!(
            page.matches("<script").count(),
            page.matches("<script type=\"module\" src=").count()
        );
    }
    for (path, kind) in [
        ("/", "text/html"),
        ("/panel.js", "text/javascript"),
        ("/format.js", "text/javascript"),
        ("/charges.js", "text/javascript"),
        ("/panel.css", "text/css"),
        ("/favicon.svg", "image/svg+xml"),
    ] {
        let response = gateway.client.get(gateway.url(path)).send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert!(
            response.headers()["content-type"]
                .to_str()
                .unwrap()
                .starts_with(kind)
        );
        assert!(response.text().await.unwrap().len() > 100);
    }
}

#[tokio::test]
async fn a_large_body_is_refused_whether_its_length_is_told_or_not() {
    let gateway = Gateway::start();
    let large = new_payment(&"x".repeat(20_000));
    problem(
        gateway.create("k", &large).send().await.unwrap(),
        413,
        "too-large",
    )
    .await;
    let head = "POST /v1/payments HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer tw_agent_secret\r\nIdempotency-Key: k\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunk = format!("5000\r\n{}\r\n0\r\n\r\n", " ".repeat(0x5000));
    let (_, answer) = raw(&gateway, &format!("{head}{chunk}")).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert!(
        answer.contains("urn:tonewall:problem:too-large"),
        "{answer}"
    );
}

#[tokio::test]
async fn large_heads_and_broken_requests_harm_nobody() {
    let gateway = Gateway::start();
    for request in [
        format!(
            "GET / HTTP/1.1\r\nHost: x\r\nA: {}\r\n\r\n",
            "x".repeat(60_000)
        ),
        format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(60_000)),
        format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(100)),
        "\u{16}\u{3}\u{1} not http\r\n\r\n".to_owned(),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
    ] {
        let (_, answer) = raw(&gateway, &request).await;
        assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    assert_eq!(gateway.get("/v1/calls").send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn slow_heads_and_idle_connections_are_closed() {
    let gateway = Gateway::start_with(Fake::new(), |settings| {
        settings.header_timeout = Duration::from_millis(200);
    });
    for begun in [
        "GET / HTTP/1.1\r\nHost:",
        "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n",
        "",
    ] {
        let mut stream = TcpStream::connect(gateway.address).await.unwrap();
        stream.write_all(begun.as_bytes()).await.unwrap();
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest));
        // A reset is an end too.
        let _ = ended
            .await
            .unwrap_or_else(|_| panic!("{begun:?} stays open"));
    }
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_answered_and_a_stream_is_not_cut() {
    let gateway = Gateway::start_with(Fake::new(), |settings| {
        settings.request_timeout = Duration::from_millis(100);
    });
    let slow = gateway
        .create("k", &new_payment("slow"))
        .send()
        .await
        .unwrap();
    problem(slow, 503, "overloaded").await;
    let mut stream = gateway.get("/v1/events").send().await.unwrap();
    // Longer than a request may take: nothing tells that a stream was not cut but its going on.
    tokio::time::sleep(Duration::from_millis(300)).await;
    gateway.fake.slow.add_permits(1);
    read_until(&mut stream, "payment.created").await;
    assert_eq!(gateway.fake.lock().created, 1, "what was begun goes on");
}

#[tokio::test]
async fn connections_are_bounded() {
    let gateway = Gateway::start_with(Fake::new(), |settings| settings.connections = 2);
    let request = "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n";
    let (first, answer) = raw(&gateway, request).await;
    assert!(answer.starts_with("HTTP/1.1 200"));
    let (_second, answer) = raw(&gateway, request).await;
    assert!(answer.starts_with("HTTP/1.1 200"));
    assert_eq!(raw(&gateway, request).await.1, "", "one too many is closed");
    drop(first);
    let until = tokio::time::Instant::now() + PATIENCE;
    while !raw(&gateway, request).await.1.starts_with("HTTP/1.1 200") {
        assert!(tokio::time::Instant::now() < until, "no place came back");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn health_is_told_without_a_key() {
    let gateway = Gateway::start();
    for path in ["/livez", "/readyz"] {
        assert_eq!(
            gateway
                .client
                .get(gateway.url(path))
                .send()
                .await
                .unwrap()
                .status(),
            200
        );
    }
    let mut state = state(gateway.fake.clone(), Arc::default());
    state.ready = Arc::new(|| Err("the media workers have not started".into()));
    let bound = bind(Settings::new("127.0.0.1:0".parse().unwrap())).unwrap();
    let url = format!("{}/readyz", bound.url());
    tokio::spawn(bound.serve(state, std::future::pending()));
    let response = gateway.client.get(url).send().await.unwrap();
    let why = problem(response, 503, "not-ready").await;
    assert_eq!(why["detail"], "the media workers have not started");
}

#[test]
fn plain_http_is_refused_off_loopback() {
    for address in [
        "0.0.0.0:0",
        "192.0.2.1:80",
        "[::]:0",
        "[::ffff:192.0.2.1]:0",
    ] {
        let refused = bind(Settings::new(address.parse().unwrap())).err().unwrap();
        assert!(matches!(refused, ServeError::PlainHttp(_)), "{refused}");
        assert!(refused.to_string().contains("tls_certificate"));
    }
    assert!(bind(Settings::new("127.0.0.1:0".parse().unwrap())).is_ok());
}

#[tokio::test]
async fn tls_serves_sets_a_host_cookie_and_takes_a_new_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let files = TlsFiles {
        certificate: folder.path().join("c.pem"),
        key: folder.path().join("k.pem"),
        clients: None,
    };
    let renew = || {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        std::fs::write(&files.certificate, made.cert.pem()).unwrap();
        std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
        made.cert.pem()
    };
    let trusting = |pem: &str| {
        let root = reqwest::Certificate::from_pem(pem.as_bytes()).unwrap();
        reqwest::Client::builder()
            .tls_certs_only([root])
            .no_proxy()
            .build()
            .unwrap()
    };
    let gateway = Gateway::start();
    let mut settings = Settings::new("127.0.0.1:0".parse().unwrap());
    settings.tls = Some(files.clone());
    let first = renew();
    let bound = bind(settings).unwrap();
    let reload = bound.reload().unwrap();
    let url = format!("https://localhost:{}", bound.address().port());
    tokio::spawn(bound.serve(
        state(gateway.fake.clone(), Arc::default()),
        std::future::pending(),
    ));

    gateway
        .fake
        .add_key(KeyKind::PanelLink, Role::Agent, "acme", "tls");
    let entered = trusting(&first)
        .get(format!("{url}/panel/enter?link=tls"))
        .send()
        .await
        .unwrap();
    let cookie = entered.headers()["set-cookie"].to_str().unwrap();
    assert!(
        cookie.starts_with("__Host-tonewall=tws_") && cookie.ends_with("; Secure"),
        "{cookie}"
    );
    assert!(entered.headers().contains_key("strict-transport-security"));

    let second = renew();
    assert!(
        trusting(&second)
            .get(format!("{url}/livez"))
            .send()
            .await
            .is_err()
    );
    reload.reload().unwrap();
    assert!(
        trusting(&first)
            .get(format!("{url}/livez"))
            .send()
            .await
            .is_err()
    );
    assert_eq!(
        trusting(&second)
            .get(format!("{url}/livez"))
            .send()
            .await
            .unwrap()
            .status(),
        200
    );

    std::fs::write(&files.certificate, "nothing").unwrap();
    let refused = reload.reload().err().unwrap().to_string();
    assert!(
        refused.contains("c.pem") && refused.contains("certificate"),
        "{refused}"
    );
    assert_eq!(
        trusting(&second)
            .get(format!("{url}/livez"))
            .send()
            .await
            .unwrap()
            .status(),
        200
    );
}
