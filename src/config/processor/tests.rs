//! What `[processor]` may say.

use std::{path::Path, time::Duration};

use super::super::Config;

const STRIPE: &str = "kind = \"stripe\"\nmode = \"test\"\nkey_file = \"/k\"";
const ADYEN: &str = "kind = \"adyen\"\nmode = \"test\"\nkey_file = \"/k\"\nmerchant_account = \"Shop\"\nmanual_reconcile = true";
const CHECKOUT: &str = "kind = \"checkout-com\"\nmode = \"live\"\nkey_file = \"/k\"\npublic_key = \"pk_1\"\nprocessing_channel = \"pc_1\"";
const WORLDPAY: &str = "kind = \"worldpay\"\nmode = \"live\"\nkey_file = \"/k\"\nusername = \"u\"\nentity = \"default\"\ndescriptor = \"My Shop, Ltd\"";
const CYBERSOURCE: &str = "kind = \"cybersource\"\nmode = \"test\"\nkey_file = \"/k\"\nkey_id = \"k-1\"\nmerchant_id = \"shop_moto\"";
const BRAINTREE: &str = "kind = \"braintree\"\nmode = \"live\"\nkey_file = \"/k\"\npublic_key = \"v4nd\"\nmerchant_accounts = { EUR = \"shop_eur\", USD = \"shop\" }";
const AUTHORIZE_NET: &str = "kind = \"authorize-net\"\nmode = \"test\"\nkey_file = \"/k\"\napi_login_id = \"login\"\nmanual_reconcile = true";
const CONNECTOR: &str = "kind = \"pay-connector\"\nmode = \"live\"\nkey_file = \"/k\"\nurl = \"https://pay.example.com/charge\"\nlook_up_url = \"https://pay.example.com/charges\"";

fn parse(text: &str) -> Result<Config, String> {
    let text = format!("data_dir = \"/d\"\n[processor]\n{text}\n");
    Config::parse(&text, Path::new("t.toml")).map_err(|error| error.to_string())
}

#[test]
fn each_processor_has_a_shortest_section() {
    for (text, site) in [
        (STRIPE, "https://api.stripe.com"),
        (ADYEN, "https://checkout-test.adyen.com/v71"),
        (CHECKOUT, "https://api.checkout.com"),
        (WORLDPAY, "https://access.worldpay.com"),
        (CYBERSOURCE, "https://apitest.cybersource.com"),
        (BRAINTREE, "https://payments.braintree-api.com/graphql"),
        (
            AUTHORIZE_NET,
            "https://apitest.authorize.net/xml/v1/request.api",
        ),
        (CONNECTOR, "https://pay.example.com/charge"),
    ] {
        let connection = parse(text).unwrap().processor.connection().unwrap();
        assert_eq!(connection.site.to_string(), site);
    }
    let told = ADYEN.replace("manual_reconcile = true", "");
    parse(&format!(
        "{told}\n[processor.notifications]\nkey_files = [\"/a\"]"
    ))
    .unwrap();
    let quick = parse(&format!("{STRIPE}\nwhole_timeout = \"12s\"")).unwrap();
    let deadlines = quick.processor.connection().unwrap().deadlines;
    assert_eq!(deadlines.whole, Duration::from_secs(12));
}

#[test]
fn what_is_missing_of_no_use_or_of_the_other_mode_is_named() {
    for (text, named) in [
        ("kind = \"stripe\"".to_owned(), "no mode"),
        (
            "kind = \"stripe\"\nmode = \"test\"".to_owned(),
            "no key_file",
        ),
        ("kind = \"stripe\"\nmode = \"sandbox\"".to_owned(), "live"),
        (
            format!("{STRIPE}\nmerchant_account = \"x\""),
            "merchant_account",
        ),
        (
            format!("{STRIPE}\ndigest_key = \"{}\"", "0".repeat(64)),
            "digest_key",
        ),
        ("kind = \"sandbox\"\nmode = \"live\"".to_owned(), "mode"),
        (STRIPE.replace("stripe", "moneris"), "moneris"),
        (
            format!("{STRIPE}\nurl = \"http://api.stripe.com\""),
            "https://",
        ),
        (
            format!("{STRIPE}\nclient_key = \"/k\""),
            "client_certificate",
        ),
        (format!("{STRIPE}\ndescriptor = \"*\""), "descriptor"),
        (
            format!("{STRIPE}\nwhole_timeout = \"41s\""),
            "whole_timeout",
        ),
        (ADYEN.replace("test", "live"), "adyenpayments.com"),
        (
            format!("{ADYEN}\nurl = \"https://x-checkout-live.adyenpayments.com/checkout/v71\""),
            "other mode",
        ),
        (
            ADYEN.replace("manual_reconcile = true", ""),
            "manual_reconcile",
        ),
        (
            format!("{STRIPE}\n[processor.notifications]\nkey_files = []"),
            "notifications.key_files",
        ),
        (
            format!("{STRIPE}\n[processor.notifications]\nkey_files = [\"/a\", \"/b\", \"/c\"]"),
            "notifications.key_files",
        ),
        (
            format!("{WORLDPAY}\n[processor.notifications]\nkey_files = [\"/a\"]"),
            "notifications",
        ),
        (
            format!("{STRIPE}\n[processor.notifications]\nkeys = [\"/a\"]"),
            "keys",
        ),
        (CHECKOUT.replace("public_key", "#"), "no public_key"),
        (
            CHECKOUT.replace("processing_channel", "#"),
            "no processing_channel",
        ),
        (
            format!("{CHECKOUT}\nurl = \"https://x.api.sandbox.checkout.com\""),
            "other mode",
        ),
        (CHECKOUT.replace("pc_1", "a b"), "processing_channel"),
        (WORLDPAY.replace("username", "#"), "no username"),
        (WORLDPAY.replace("entity", "#"), "no entity"),
        (WORLDPAY.replace("descriptor", "#"), "no descriptor"),
        (WORLDPAY.replace("My Shop, Ltd", "My Shop*"), "descriptor"),
        (WORLDPAY.replace("default", "a_b"), "entity"),
        (WORLDPAY.replace("\"u\"", "\"a:b\""), "colon"),
        (
            format!("{WORLDPAY}\nurl = \"https://try.access.worldpay.com\""),
            "other mode",
        ),
        (
            format!(
                "{}\nurl = \"https://access.worldpay.com\"",
                WORLDPAY.replace("live", "test")
            ),
            "other mode",
        ),
        (CYBERSOURCE.replace("key_id", "#"), "no key_id"),
        (CYBERSOURCE.replace("merchant_id", "#"), "no merchant_id"),
        (CYBERSOURCE.replace("shop_moto", "a b"), "merchant_id"),
        (
            format!("{CYBERSOURCE}\nurl = \"https://api.in.cybersource.com\""),
            "other mode",
        ),
        (
            format!(
                "{}\nurl = \"https://apitest.cybersource.com\"",
                CYBERSOURCE.replace("\"test\"", "\"live\"")
            ),
            "other mode",
        ),
        (format!("{CYBERSOURCE}\nentity = \"x\""), "entity"),
        (
            BRAINTREE.replace("merchant_accounts", "#"),
            "no merchant_accounts",
        ),
        (BRAINTREE.replace("public_key", "#"), "no public_key"),
        (BRAINTREE.replace("EUR", "EURO"), "merchant_accounts"),
        (BRAINTREE.replace("shop_eur", "a b"), "merchant_accounts"),
        (BRAINTREE.replace("v4nd", "v:4"), "colon"),
        (
            format!("{BRAINTREE}\nurl = \"https://payments.sandbox.braintree-api.com/graphql\""),
            "other mode",
        ),
        (
            AUTHORIZE_NET.replace("api_login_id", "#"),
            "no api_login_id",
        ),
        (
            AUTHORIZE_NET.replace("manual_reconcile", "#"),
            "manual_reconcile",
        ),
        (
            AUTHORIZE_NET.replace("\"login\"", "\"a b\""),
            "api_login_id",
        ),
        (
            format!("{AUTHORIZE_NET}\nurl = \"https://api2.authorize.net/xml/v1/request.api\""),
            "other mode",
        ),
        (CONNECTOR.replace("look_up_url", "#"), "look_up_url"),
        (format!("{CONNECTOR}\nusername = \"a:b\""), "colon"),
    ] {
        let error = parse(&text).unwrap_err();
        assert!(error.contains(named), "{text}: {error}");
    }
}
