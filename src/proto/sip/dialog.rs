//! One leg's dialog (RFC 3261 section 12): what its requests and responses are made of.
//!
//! The two dialogs of a call share nothing: Call-ID, tags, numbers and addresses are each leg's own,
//! so that neither side sees the other's hosts.

use rsipstack::sip::{
    Headers, HeadersExt, HostWithPort, Method, Request, Response, StatusCode, Transport, Uri,
    Version, typed,
};

use super::{
    header::{ALLOW, field, value, values},
    uri::{as_read, user_of},
};

/// How the gateway names itself in what it makes.
const AGENT: &str = "tonewall";

/// Why a request does not belong into a dialog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DialogError {
    /// Another tag.
    #[error("a request with tags of another dialog")]
    Tags,
    /// A number that is not higher than the last (RFC 3261 section 12.2.2).
    #[error("a request that is out of order")]
    Order,
    /// A header field that is needed and cannot be read.
    #[error("a {0} that cannot be read")]
    Field(&'static str),
}

/// Where the gateway is on a leg.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    /// The transport.
    pub transport: Transport,
    /// The address that the far end sends to.
    pub host: HostWithPort,
}

impl Home {
    fn via(&self, branch: &str) -> String {
        format!(
            "SIP/2.0/{} {};branch={branch};rport",
            self.transport, self.host
        )
    }

    /// `Contact`.
    #[must_use]
    pub fn contact(&self) -> String {
        match self.transport {
            Transport::Udp => format!("<sip:{}>", self.host),
            other => {
                let word = other.to_string().to_ascii_lowercase();
                format!("<sip:{};transport={word}>", self.host)
            }
        }
    }
}

/// A dialog, from the first INVITE on.
#[derive(Debug, Clone)]
pub struct Dialog {
    call_id: String,
    /// `From` of our requests, with our tag.
    local: String,
    local_tag: String,
    /// `To` of our requests, with the far end's tag once there is one.
    remote: String,
    remote_tag: Option<String>,
    target: Uri,
    routes: Vec<String>,
    cseq: u32,
    remote_cseq: Option<u32>,
    home: Home,
    /// `To` and target of a call of ours, as they were before anybody answered.
    first: Option<(String, Uri)>,
}

impl Dialog {
    /// The dialog that an INVITE asks for.
    ///
    /// # Errors
    /// [`DialogError::Field`] when the INVITE lacks what a dialog needs.
    pub fn answering(invite: &Request, local_tag: &str, home: Home) -> Result<Self, DialogError> {
        let from = invite
            .from_header()
            .map_err(|_| DialogError::Field("From"))?;
        let to = invite.to_header().map_err(|_| DialogError::Field("To"))?;
        let tag = from
            .tag()
            .ok()
            .flatten()
            .ok_or(DialogError::Field("From"))?;
        Ok(Self {
            call_id: call_id(&invite.headers)?,
            local: format!("{};tag={local_tag}", to.value()),
            local_tag: local_tag.to_owned(),
            remote: from.value().to_owned(),
            remote_tag: Some(tag.value().to_owned()),
            target: contact(&invite.headers)?,
            routes: route_list(&invite.headers),
            cseq: 0,
            remote_cseq: Some(number(&invite.headers)?),
            home,
            first: None,
        })
    }

    /// The dialog that a call of ours will make.
    #[must_use]
    pub fn calling(
        (local, remote): (&str, &str),
        target: Uri,
        call_id: String,
        local_tag: &str,
        home: Home,
    ) -> Self {
        Self {
            call_id,
            local: format!("{local};tag={local_tag}"),
            local_tag: local_tag.to_owned(),
            remote: remote.to_owned(),
            remote_tag: None,
            first: Some((remote.to_owned(), target.clone())),
            target,
            routes: Vec::new(),
            cseq: 0,
            remote_cseq: None,
            home,
        }
    }

    /// The dialog of an answer to our INVITE that another answer has outrun (RFC 3261 section 13.2.2.4).
    ///
    /// # Errors
    /// [`DialogError::Field`] when the answer lacks what a dialog needs.
    pub fn outrun(answer: &Response, home: Home) -> Result<Self, DialogError> {
        let from = answer
            .from_header()
            .map_err(|_| DialogError::Field("From"))?;
        let mut dialog = Self {
            call_id: call_id(&answer.headers)?,
            local: from.value().to_owned(),
            local_tag: String::new(),
            remote: String::new(),
            remote_tag: None,
            target: contact(&answer.headers)?,
            routes: Vec::new(),
            cseq: number(&answer.headers)?,
            remote_cseq: None,
            home,
            first: None,
        };
        dialog.learn(answer);
        Ok(dialog)
    }

    /// Its Call-ID.
    #[must_use]
    pub fn call_id(&self) -> &str {
        &self.call_id
    }

    /// The far end's tag.
    #[must_use]
    pub fn remote_tag(&self) -> Option<&str> {
        self.remote_tag.as_deref()
    }

    /// Our tag.
    #[must_use]
    pub fn local_tag(&self) -> &str {
        &self.local_tag
    }

    /// Where its next request goes by its own account: the first route, else the far end's contact.
    #[must_use]
    pub fn next_hop(&self) -> Uri {
        let route = self
            .routes
            .first()
            .and_then(|route| typed::Route::parse_header_list(route).ok());
        let route = route.and_then(|routes| routes.into_iter().next());
        route.map_or_else(|| self.target.clone(), |route| route.uri)
    }

    /// A request within it, or the INVITE that makes it, without a body.
    #[must_use]
    pub fn request(&mut self, method: Method, branch: &str) -> Request {
        self.cseq += 1;
        self.numbered(method, self.cseq, branch)
    }

    /// The ACK of a 2xx to the INVITE of this number (RFC 3261 section 13.2.2.4).
    #[must_use]
    pub fn ack(&self, cseq: u32, branch: &str) -> Request {
        self.numbered(Method::Ack, cseq, branch)
    }

    /// A request that was sent anew, with credentials, took this number.
    pub fn took_number(&mut self, cseq: u32) {
        self.cseq = self.cseq.max(cseq);
    }

    /// The number of its last request.
    #[must_use]
    pub const fn last_number(&self) -> u32 {
        self.cseq
    }

    fn numbered(&self, method: Method, cseq: u32, branch: &str) -> Request {
        let mut headers = Headers::default();
        headers.push(field("Via", self.home.via(branch)));
        headers.push(field("Max-Forwards", "70"));
        for route in &self.routes {
            headers.push(field("Route", route.clone()));
        }
        headers.push(field("From", self.local.clone()));
        headers.push(field("To", self.remote.clone()));
        headers.push(field("Call-ID", self.call_id.clone()));
        headers.push(field("CSeq", format!("{cseq} {method}")));
        if takes_contact(method) {
            headers.push(field("Contact", self.home.contact()));
            headers.push(field("Allow", ALLOW));
        }
        headers.push(field("User-Agent", AGENT));
        Request {
            method,
            uri: self.target.clone(),
            version: Version::V2,
            headers,
            body: Vec::new(),
        }
    }

    /// Takes over what a response to the INVITE that makes the dialog tells of the far end. Of several
    /// that answer (a proxy may have forked) the last one counts, until one takes the call.
    pub fn learn(&mut self, response: &Response) {
        let Ok(to) = response.to_header() else {
            return;
        };
        let Some(tag) = to.tag().ok().flatten() else {
            return;
        };
        to.value().clone_into(&mut self.remote);
        self.remote_tag = Some(tag.value().to_owned());
        if let Ok(target) = contact(&response.headers) {
            self.target = target;
        }
        let mut routes = route_list(&response.headers);
        routes.reverse();
        self.routes = routes;
    }

    /// The INVITE that was to make the dialog is over, and what it made so far is none: the next goes
    /// where the first went.
    pub fn forget(&mut self) {
        if let (Some((remote, target)), Some(_)) = (self.first.clone(), self.remote_tag.take()) {
            (self.remote, self.target) = (remote, target);
            self.routes.clear();
        }
    }

    /// The INVITE that was to make the dialog goes elsewhere.
    pub fn redirect(&mut self, target: Uri) {
        self.forget();
        if let Some((_, first)) = &mut self.first {
            first.clone_from(&target);
        }
        self.target = target;
    }

    /// A request or response that may name a new contact did so (RFC 3261 section 12.2).
    pub fn learn_target(&mut self, headers: &Headers) {
        if let Ok(target) = contact(headers) {
            self.target = target;
        }
    }

    /// Checks that a request belongs into this dialog, and in its turn.
    ///
    /// # Errors
    /// [`DialogError`] when it does not.
    pub fn admit(&mut self, request: &Request) -> Result<(), DialogError> {
        let tag =
            |found: Option<rsipstack::sip::param::Tag>| found.map(|tag| tag.value().to_owned());
        let from = request
            .from_header()
            .ok()
            .and_then(|from| from.tag().ok().flatten());
        let to = request
            .to_header()
            .ok()
            .and_then(|to| to.tag().ok().flatten());
        if tag(from) != self.remote_tag || tag(to).as_deref() != Some(&self.local_tag) {
            return Err(DialogError::Tags);
        }
        let number = number(&request.headers)?;
        if self.remote_cseq.is_some_and(|last| number <= last) {
            return Err(DialogError::Order);
        }
        self.remote_cseq = Some(number);
        Ok(())
    }

    /// A response to a request of the far end.
    #[must_use]
    pub fn response(&self, request: &Request, status: StatusCode) -> Response {
        let mut headers = copied(request);
        let made = (101..300).contains(&status.code());
        for header in request.headers.iter() {
            let name = header.name();
            if name.eq_ignore_ascii_case("Record-Route") && made {
                headers.push(header.clone());
            }
        }
        if status.code() > 100 {
            headers.retain(|header| !header.name().eq_ignore_ascii_case("To"));
            headers.push(field("To", self.local.clone()));
        }
        if made && takes_contact(request.method) {
            headers.push(field("Contact", self.home.contact()));
            headers.push(field("Allow", ALLOW));
        }
        Response {
            status_code: status,
            wire_reason: None,
            version: Version::V2,
            headers,
            body: Vec::new(),
        }
    }
}

/// The CANCEL of an INVITE (RFC 3261 section 9.1).
#[must_use]
pub fn cancel(invite: &Request) -> Request {
    let mut headers = Headers::default();
    for header in invite.headers.iter() {
        let name = header.name();
        let kept = ["Via", "Route", "From", "To", "Call-ID"];
        if kept.iter().any(|kept| kept.eq_ignore_ascii_case(name)) {
            headers.push(header.clone());
        }
    }
    let cseq = number(&invite.headers).unwrap_or_default();
    headers.push(field("CSeq", format!("{cseq} CANCEL")));
    headers.push(field("Max-Forwards", "70"));
    Request {
        method: Method::Cancel,
        uri: invite.uri.clone(),
        version: Version::V2,
        headers,
        body: Vec::new(),
    }
}

/// A response without a dialog.
#[must_use]
pub fn bare_response(request: &Request, status: StatusCode, tag: &str) -> Response {
    let mut headers = copied(request);
    let tagged = request
        .to_header()
        .ok()
        .and_then(|to| to.tag().ok().flatten());
    if tagged.is_none() && status.code() > 100 {
        let to = value(&request.headers, "To").unwrap_or_default().to_owned();
        headers.retain(|header| !header.name().eq_ignore_ascii_case("To"));
        headers.push(field("To", format!("{to};tag={tag}")));
    }
    Response {
        status_code: status,
        wire_reason: None,
        version: Version::V2,
        headers,
        body: Vec::new(),
    }
}

/// The number in `CSeq`.
///
/// # Errors
/// [`DialogError::Field`] when there is none.
pub fn number(headers: &Headers) -> Result<u32, DialogError> {
    let text = value(headers, "CSeq").and_then(|cseq| cseq.split_whitespace().next());
    text.and_then(|text| text.parse().ok())
        .ok_or(DialogError::Field("CSeq"))
}

/// `From` or `To` as the other leg may see it: the name and the user, at a host that it knows.
#[must_use]
pub fn at_host(named: &str, host: &str) -> String {
    let parsed = typed::From::parse(named);
    let Ok(address) = parsed else {
        return format!("<sip:anonymous@{host}>");
    };
    let user = user_of(address.uri).map(|user| format!("{user}@"));
    let uri = format!("sip:{}{host}", user.unwrap_or_default());
    match address.display_name.filter(|name| !name.is_empty()) {
        Some(name) => format!("\"{}\" <{uri}>", name.replace(['"', '\\'], "")),
        None => format!("<{uri}>"),
    }
}

fn copied(request: &Request) -> Headers {
    let kept = ["Via", "From", "To", "Call-ID", "CSeq"];
    let mut headers = Headers::default();
    for header in request.headers.iter() {
        if kept
            .iter()
            .any(|kept| kept.eq_ignore_ascii_case(header.name()))
        {
            headers.push(header.clone());
        }
    }
    headers
}

const fn takes_contact(method: Method) -> bool {
    matches!(
        method,
        Method::Invite | Method::Update | Method::Refer | Method::Subscribe | Method::Notify
    )
}

fn call_id(headers: &Headers) -> Result<String, DialogError> {
    let found = value(headers, "Call-ID").map(str::to_owned);
    found.ok_or(DialogError::Field("Call-ID"))
}

fn contact(headers: &Headers) -> Result<Uri, DialogError> {
    let error = DialogError::Field("Contact");
    let text = value(headers, "Contact").ok_or(error)?;
    let list = typed::Contact::parse_header_list(text).map_err(|_| error)?;
    let found = list.into_iter().next().ok_or(error)?;
    Ok(as_read(found.uri))
}

/// `Record-Route`, one entry each.
fn route_list(headers: &Headers) -> Vec<String> {
    values(headers, "Record-Route")
        .filter_map(|value| typed::RecordRoute::parse_header_list(value).ok())
        .flatten()
        .map(|route| format!("<{}>", as_read(route.uri)))
        .collect()
}

#[cfg(test)]
mod tests {
    use rsipstack::sip::SipMessage;

    use super::*;

    fn home(host: &str) -> Home {
        Home {
            transport: Transport::Udp,
            host: HostWithPort::try_from(host).unwrap(),
        }
    }

    fn request(text: &str) -> Request {
        let SipMessage::Request(request) = SipMessage::try_from(text).unwrap() else {
            panic!("a request");
        };
        request
    }

    fn invite() -> Request {
        request(
            "INVITE sip:100@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.9;branch=z9hG4bK1\r\n\
             Record-Route: <sip:10.0.0.2;lr>, <sip:10.0.0.3;lr>\r\n\
             From: \"A\" <sip:a@10.0.0.9>;tag=far\r\nTo: <sip:100@192.0.2.1>\r\nCall-ID: one\r\n\
             CSeq: 5 INVITE\r\nContact: <sip:a@10.0.0.9:5070>\r\nContent-Length: 0\r\n\r\n",
        )
    }

    fn text(request: &Request) -> String {
        String::from_utf8(request.to_bytes()).unwrap()
    }

    #[test]
    fn a_request_of_ours_takes_the_routes_as_they_were_recorded() {
        let mut dialog = Dialog::answering(&invite(), "near", home("192.0.2.1:5060")).unwrap();
        let bye = text(&dialog.request(Method::Bye, "z9hG4bKb"));
        assert!(
            bye.starts_with("BYE sip:a@10.0.0.9:5070 SIP/2.0\r\n"),
            "{bye}"
        );
        let routes: Vec<_> = bye.lines().filter(|l| l.starts_with("Route")).collect();
        assert_eq!(
            routes,
            ["Route: <sip:10.0.0.2;lr>", "Route: <sip:10.0.0.3;lr>"]
        );
        assert!(
            bye.contains("From: <sip:100@192.0.2.1>;tag=near\r\n"),
            "{bye}"
        );
        assert!(
            bye.contains("To: \"A\" <sip:a@10.0.0.9>;tag=far\r\n"),
            "{bye}"
        );
        assert!(bye.contains("CSeq: 1 BYE\r\n"), "{bye}");
    }

    #[test]
    fn a_call_of_ours_learns_routes_backwards_and_acks_the_number_of_its_invite() {
        let target = Uri::try_from("sip:200@198.51.100.7").unwrap();
        let mut dialog = Dialog::calling(
            ("<sip:a@192.0.2.1>", "<sip:200@198.51.100.7>"),
            target,
            "two".to_owned(),
            "near",
            home("192.0.2.1:5060"),
        );
        let invite = dialog.request(Method::Invite, "z9hG4bKi");
        let mut answer = dialog.response(&invite, StatusCode::OK);
        answer.headers = [
            ("To", "<sip:200@198.51.100.7>;tag=there"),
            ("Contact", "<sip:200@198.51.100.8>"),
            ("Record-Route", "<sip:r1;lr>"),
            ("Record-Route", "<sip:r2;lr>"),
        ]
        .map(|(name, value)| field(name, value))
        .to_vec()
        .into();
        dialog.learn(&answer);
        let _info = dialog.request(Method::Info, "z9hG4bKx");
        let ack = text(&dialog.ack(1, "z9hG4bKa"));
        assert!(
            ack.starts_with("ACK sip:200@198.51.100.8 SIP/2.0\r\n"),
            "{ack}"
        );
        let routes: Vec<_> = ack.lines().filter(|l| l.starts_with("Route")).collect();
        assert_eq!(routes, ["Route: <sip:r2;lr>", "Route: <sip:r1;lr>"]);
        assert!(
            ack.contains("CSeq: 1 ACK\r\n") && ack.contains(";tag=there"),
            "{ack}"
        );
        assert_eq!(dialog.next_hop().to_string(), "sip:r2;lr");
    }

    #[test]
    fn a_request_out_of_order_or_of_another_dialog_is_not_admitted() {
        let mut dialog = Dialog::answering(&invite(), "near", home("192.0.2.1:5060")).unwrap();
        let within = |number: u32, tag: &str| {
            request(&format!(
                "BYE sip:x@y SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.9;branch=z9hG4bK2\r\n\
                 From: <sip:a@b>;tag=far\r\nTo: <sip:c@d>;tag={tag}\r\nCall-ID: one\r\n\
                 CSeq: {number} BYE\r\n\r\n"
            ))
        };
        assert_eq!(dialog.admit(&within(6, "near")), Ok(()));
        assert_eq!(dialog.admit(&within(6, "near")), Err(DialogError::Order));
        assert_eq!(dialog.admit(&within(7, "else")), Err(DialogError::Tags));
    }

    #[test]
    fn the_other_leg_sees_name_and_user_and_no_host() {
        assert_eq!(
            at_host("\"A B\" <sip:+4930@10.9.8.7:5062;x=y>;tag=1", "192.0.2.1"),
            "\"A B\" <sip:+4930@192.0.2.1>"
        );
        assert_eq!(
            at_host("<sip:+4930;cpc=ordinary@10.9.8.7>;tag=1", "192.0.2.1"),
            "<sip:+4930;cpc=ordinary@192.0.2.1>"
        );
        assert_eq!(at_host("sip:10.9.8.7", "192.0.2.1"), "<sip:192.0.2.1>");
    }

    #[test]
    fn a_cancel_has_the_branch_and_the_number_of_its_invite() {
        let cancel = text(&cancel(&invite()));
        assert!(
            cancel.contains("branch=z9hG4bK1") && cancel.contains("CSeq: 5 CANCEL"),
            "{cancel}"
        );
    }
}
