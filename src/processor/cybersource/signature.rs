//! CyberSource's HTTP signature: HMAC-SHA256 over host, date, target, digest of the body and merchant, as its
//! SDKs make it. Source:
//! <https://developer.cybersource.com/docs/cybs/en-us/platform/developer/all/rest/rest-getting-started/restgs-http-message-intro.html>.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use jiff::{Timestamp, fmt::rfc2822::DateTimePrinter};
use zeroize::Zeroizing;

use super::super::{
    Secret, Site,
    client::Fields,
    digest::{BodyDigest, mac},
};

/// What is signed, in this order. `request-target` has no parentheses since 2024.
const SIGNED_FIELDS: &str = "host date request-target digest v-c-merchant-id";
/// Longer than what is signed, so that no copy is left behind by growing.
const LONGEST_SIGNED: usize = 1024;

/// Who signs.
pub(super) struct Signer {
    key_id: String,
    key: Zeroizing<Vec<u8>>,
    merchant_id: String,
    /// As the request's `Host` has it.
    host: String,
    /// What every path begins with.
    base: String,
}

impl Signer {
    /// `None` where the shared secret is not Base64 (RFC 4648 §4).
    pub(super) fn new(
        key_id: String,
        secret: &Secret,
        merchant_id: String,
        site: &Site,
    ) -> Option<Self> {
        let key = BASE64_STANDARD.decode(secret.expose()).ok()?;
        Some(Self {
            key_id,
            key: Zeroizing::new(key),
            merchant_id,
            host: site.authority(),
            base: site.path().to_owned(),
        })
    }

    /// The fields that say who posts a body with this digest to a path, and when.
    pub(super) fn sign(&self, path: &str, digest: &BodyDigest, now: Timestamp) -> Fields {
        let date = http_date(now);
        // As much as it takes: 8 and 44 characters.
        let mut sha256 = Zeroizing::new(String::with_capacity(64));
        sha256.push_str("SHA-256=");
        sha256.push_str(&digest.base64());

        let mut signed = Zeroizing::new(String::with_capacity(LONGEST_SIGNED));
        for part in [
            "host: ",
            &self.host,
            "\ndate: ",
            &date,
            "\nrequest-target: post ",
            &self.base,
            path,
            "\ndigest: ",
            &sha256,
            "\nv-c-merchant-id: ",
            &self.merchant_id,
        ] {
            signed.push_str(part);
        }
        let signature = format!(
            "keyid=\"{}\", algorithm=\"HmacSHA256\", headers=\"{SIGNED_FIELDS}\", signature=\"{}\"",
            self.key_id,
            BASE64_STANDARD.encode(mac(&self.key, &signed))
        );
        vec![
            ("Date", Zeroizing::new(date)),
            ("v-c-merchant-id", Zeroizing::new(self.merchant_id.clone())),
            ("Digest", sha256),
            ("Signature", Zeroizing::new(signature)),
        ]
    }
}

/// As HTTP writes a time (RFC 9110 §5.6.7).
fn http_date(time: Timestamp) -> String {
    DateTimePrinter::new()
        .timestamp_to_rfc9110_string(&time)
        // Years beyond 9999 cannot be written.
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signer(url: &str) -> Signer {
        let secret = Secret::new("yBJxy6LjM2TmcPGu+GaJrHtkke25fPpUX+UY6/L/1tE=").unwrap();
        let site = url.parse().unwrap();
        let (key, merchant) = ("08c94330-f618-42a3-b09d-e1e43be5efda", "testrest");
        Signer::new(key.to_owned(), &secret, merchant.to_owned(), &site).unwrap()
    }

    fn field<'a>(fields: &'a Fields, name: &str) -> Option<&'a str> {
        let found = fields.iter().find(|(found, _)| *found == name);
        found.map(|(_, value)| value.as_str())
    }

    /// CyberSource publishes no example with all that it was made of. These signatures were made by another
    /// implementation, Python's hmac and hashlib, of the text that the SDKs sign, with the key of CyberSource's
    /// public sample account:
    ///
    /// ```text
    /// text = b"host: apitest.cybersource.com\ndate: Thu, 18 Jul 2019 00:18:03 GMT\n" \
    ///        b"request-target: post /pts/v2/payments\ndigest: SHA-256=" \
    ///        + b64encode(sha256(b'{"a":1}').digest()) + b"\nv-c-merchant-id: testrest"
    /// b64encode(hmac.new(b64decode(KEY), text, sha256).digest())
    /// ```
    #[test]
    fn a_request_is_signed_as_another_implementation_signs_it() {
        let signer = signer("https://apitest.cybersource.com");
        let now = "2019-07-18T00:18:03.9Z".parse().unwrap();
        let digest = BodyDigest::of(b"{\"a\":1}");
        let fields = signer.sign("/pts/v2/payments", &digest, now);
        assert_eq!(
            field(&fields, "Date"),
            Some("Thu, 18 Jul 2019 00:18:03 GMT")
        );
        assert_eq!(field(&fields, "v-c-merchant-id"), Some("testrest"));
        assert_eq!(
            field(&fields, "Digest"),
            Some("SHA-256=AVq9f1zFei3ZS3WQ8ErYCEJzkF7jPsXOvq5iJ2qX+GI=")
        );
        assert_eq!(
            field(&fields, "Signature"),
            Some(
                "keyid=\"08c94330-f618-42a3-b09d-e1e43be5efda\", algorithm=\"HmacSHA256\", \
                 headers=\"host date request-target digest v-c-merchant-id\", \
                 signature=\"BEJINgb1Z3Cw/imHYBPJfsdG+NuFEdJLhKcCBaKcY8M=\""
            )
        );
    }

    #[test]
    fn what_is_signed_is_where_the_request_goes() {
        let now = "2019-07-18T00:18:03Z".parse().unwrap();
        let signature = |url| {
            let fields = signer(url).sign("/a", &BodyDigest::of(b"{}"), now);
            field(&fields, "Signature").unwrap().to_owned()
        };
        let one = signature("https://api.example.com");
        assert_ne!(one, signature("https://api.example.org"));
        assert_ne!(one, signature("https://api.example.com:8443"));
        assert_ne!(one, signature("https://api.example.com/base"));
        assert_eq!(one, signature("https://API.example.com:443/"));
    }

    #[test]
    fn a_secret_that_is_not_base64_makes_no_signer() {
        let site = "https://apitest.cybersource.com".parse().unwrap();
        let secret = Secret::new("not-base64").unwrap();
        assert!(Signer::new("k".to_owned(), &secret, "m".to_owned(), &site).is_none());
    }
}
