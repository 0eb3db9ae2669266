//! Requests that hold no card: look-ups, and charges by a token. An ordinary HTTP client.

use std::error::Error as _;

use reqwest::header::HeaderValue;
use rustls::ClientConfig;
use zeroize::Zeroizing;

use super::{
    exchange::{Deadlines, EndpointError, ExchangeError, NoAnswer, NotSent},
    response::{self, MAX_RESPONSE_BYTES, Response, ResponseError},
    site::Site,
};

/// What a request says besides its path.
#[derive(Clone, Copy)]
pub(super) struct Heading<'a> {
    /// `Content-Type` of the body.
    pub(super) media: &'static str,
    /// Further fields. Values are visible ASCII.
    pub(super) fields: &'a [(&'static str, &'a str)],
}

/// Fields that were made for one request, of what may be secret.
pub(super) type Fields = Vec<(&'static str, Zeroizing<String>)>;

/// Fields as a [`Heading`] has them.
pub(super) fn lent(fields: &Fields) -> Vec<(&'static str, &str)> {
    fields
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect()
}

/// `application/json`.
pub(super) const JSON: &str = "application/json";
/// `application/x-www-form-urlencoded`.
pub(super) const FORM: &str = "application/x-www-form-urlencoded";

/// A client of one site. It follows no redirection and asks no proxy.
pub(super) struct Client {
    http: reqwest::Client,
    base: String,
}

impl Client {
    pub(super) fn new(
        site: &Site,
        tls: ClientConfig,
        deadlines: Deadlines,
    ) -> Result<Self, EndpointError> {
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .http1_only()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(deadlines.connect + deadlines.handshake)
            .read_timeout(deadlines.first_byte)
            .timeout(deadlines.whole)
            // Less than servers keep an idle connection, so that no request meets its end.
            .pool_idle_timeout(super::exchange::SPARE_FOR)
            .build()
            .map_err(|error| EndpointError::Client(sentence(error)))?;
        Ok(Self {
            http,
            base: site.to_string(),
        })
    }

    pub(super) async fn get(
        &self,
        path: &str,
        fields: &[(&'static str, &str)],
    ) -> Result<Response, ExchangeError> {
        let request = self.http.get(format!("{}{path}", self.base));
        self.send(request, fields).await
    }

    pub(super) async fn post(
        &self,
        path: &str,
        heading: Heading<'_>,
        body: String,
    ) -> Result<Response, ExchangeError> {
        let request = self
            .http
            .post(format!("{}{path}", self.base))
            .header("Content-Type", heading.media)
            .body(body);
        self.send(request, heading.fields).await
    }

    async fn send(
        &self,
        request: reqwest::RequestBuilder,
        fields: &[(&'static str, &str)],
    ) -> Result<Response, ExchangeError> {
        let mut request = request;
        if !fields.iter().any(|(name, _)| *name == "Accept") {
            request = request.header("Accept", JSON);
        }
        for (name, value) in fields {
            let mut value = HeaderValue::from_str(value)
                .map_err(|error| NotSent::Client(format!("{name}: {error}")))?;
            // Keys keep out of logs.
            value.set_sensitive(true);
            request = request.header(*name, value);
        }
        let mut answer = request.send().await.map_err(|error| {
            if error.is_connect() || error.is_builder() {
                ExchangeError::NotSent(NotSent::Client(sentence(error)))
            } else {
                ExchangeError::NoAnswer(NoAnswer::Client(sentence(error)))
            }
        })?;
        let status = answer.status().as_u16();
        let date = answer.headers().get("Date");
        let date = date.and_then(|value| response::date(value.as_bytes()));
        // As large as it can get, so that no copy is left behind by growing.
        let mut body = Zeroizing::new(Vec::with_capacity(MAX_RESPONSE_BYTES));
        while let Some(chunk) = answer
            .chunk()
            .await
            .map_err(|error| NoAnswer::Client(sentence(error)))?
        {
            if body.len() + chunk.len() > MAX_RESPONSE_BYTES {
                return Err(NoAnswer::Response(ResponseError::TooLarge).into());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Response { status, date, body })
    }
}

/// All that is known of an error, without the address, which names the charge.
pub(crate) fn sentence(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
