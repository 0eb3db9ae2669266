//! Currencies that can be charged (ISO 4217).

/// Decimals of a currency's minor unit (ISO 4217); `None` for what is no currency that can be
/// charged.
#[must_use]
pub fn currency_exponent(code: &str) -> Option<u8> {
    const NONE: &str = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF";
    const THREE: &str = "BHD IQD JOD KWD LYD OMR TND";
    const TWO: &str = "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BTN BWP \
        BYN BZD CAD CDF CHF CNY COP CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL \
        GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP \
        LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR \
        NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP \
        STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VES WST XCD XCG YER ZAR \
        ZMW ZWG";
    let is_in = |list: &str| list.split_ascii_whitespace().any(|known| known == code);
    match code {
        _ if is_in(TWO) => Some(2),
        _ if is_in(NONE) => Some(0),
        _ if is_in(THREE) => Some(3),
        _ => None,
    }
}

/// An amount in major units with as many decimals as the currency has: `12.50` of 1250 cents.
#[must_use]
pub fn decimal(minor: u64, currency: &str) -> String {
    let decimals = usize::from(currency_exponent(currency).unwrap_or(2));
    let digits = format!("{minor:0>width$}", width = decimals + 1);
    let (major, minor) = digits.split_at(digits.len() - decimals);
    if minor.is_empty() {
        major.to_owned()
    } else {
        format!("{major}.{minor}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_written_with_the_decimals_of_their_currency() {
        for (minor, currency, expected) in [
            (1250, "EUR", "12.50"),
            (5, "EUR", "0.05"),
            (1250, "JPY", "1250"),
            (1250, "KWD", "1.250"),
            (0, "EUR", "0.00"),
        ] {
            assert_eq!(decimal(minor, currency), expected);
        }
    }

    #[test]
    fn a_currency_has_the_decimals_of_the_standard() {
        assert_eq!(currency_exponent("JPY"), Some(0));
        assert_eq!(currency_exponent("KWD"), Some(3));
        assert_eq!(currency_exponent("USD"), Some(2));
        assert_eq!(currency_exponent("usd"), None);
        assert_eq!(currency_exponent("XXX"), None);
    }
}
