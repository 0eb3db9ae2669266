//! The routes and the OpenAPI 3.1 document, made together so that they cannot part.

use std::sync::{Arc, LazyLock};

use axum::{
    Json,
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use utoipa::{
    OpenApi,
    openapi::{
        ContentBuilder, Ref, RefOr, ResponseBuilder,
        path::{Operation, Parameter, ParameterIn},
        security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Api, events, links, notifications, operations, panel, payments, prepared,
    problem::{Problem, Slug},
    schema, shadow,
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "tonewall",
        description = "Takes card payments on telephone calls without the agent hearing or seeing the card. \
            Authenticate with `Authorization: Bearer tw_...`; keys come from `tonewall keys`. Every \
            refusal is `application/problem+json`; its `type` is stable, its `detail` says what to do.",
        license(name = "Apache-2.0 OR MIT", identifier = "Apache-2.0 OR MIT")
    ),
    tags(
        (name = "payments", description = "A payment on a call, from its creation to its outcome"),
        (name = "calls", description = "The calls that are up"),
        (name = "links", description = "Which call a desktop's payments are for"),
        (name = "events", description = "What happens, as server-sent events"),
        (name = "notifications", description = "What the processor tells by itself"),
        (name = "shadow", description = "What would be heard on each trunk, before anything is masked"),
        (name = "session", description = "Who asks"),
        (name = "panel", description = "The agent panel in the browser"),
        (name = "health", description = "For orchestrators and people who integrate")
    ),
    security(("api_key" = []), ("panel_cookie" = [])),
    components(schemas(schema::PaymentEvent, schema::Problem))
)]
struct Document;

/// Every route, with its part of the document.
pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(payments::session))
        .routes(routes!(payments::list_calls))
        .routes(routes!(payments::get_call))
        .routes(routes!(
            prepared::get_prepared,
            prepared::put_prepared,
            prepared::delete_prepared
        ))
        .routes(routes!(links::create))
        .routes(routes!(links::get, links::end))
        .routes(routes!(links::read_out))
        .routes(routes!(links::confirm))
        .routes(routes!(payments::list_payments, payments::create_payment))
        .routes(routes!(payments::get_payment))
        .routes(routes!(payments::capture))
        .routes(routes!(payments::complete))
        .routes(routes!(payments::cancel))
        .routes(routes!(operations::settle))
        .routes(routes!(operations::void))
        .routes(routes!(operations::refund))
        .routes(routes!(notifications::notify))
        .routes(routes!(events::events))
        .routes(routes!(events::payment_events))
        .routes(routes!(shadow::list_trunks))
        .routes(routes!(shadow::get_trunk))
        .routes(routes!(shadow::get_picture))
        .routes(routes!(panel::page))
        .routes(routes!(panel::script))
        .routes(routes!(panel::format_script))
        .routes(routes!(panel::charges_script))
        .routes(routes!(panel::style))
        .routes(routes!(panel::icon))
        .routes(routes!(panel::enter))
        .routes(routes!(panel::leave))
        .routes(routes!(document))
        .routes(routes!(livez))
        .routes(routes!(readyz))
}

#[utoipa::path(get, path = "/openapi.json", tag = "health", operation_id = "openapi",
    summary = "This document", security(()),
    responses((status = OK, body = Object, content_type = "application/json")))]
async fn document() -> Response {
    const TYPE: HeaderValue = HeaderValue::from_static("application/json");
    static TEXT: LazyLock<String> =
        LazyLock::new(|| complete_document().to_json().unwrap_or_default());
    ([(header::CONTENT_TYPE, TYPE)], TEXT.as_str()).into_response()
}

#[utoipa::path(get, path = "/livez", tag = "health", operation_id = "livez",
    summary = "Whether the process lives", security(()),
    responses((status = OK, body = schema::Health)))]
async fn livez() -> Json<schema::Health> {
    Json(schema::Health { status: "ok" })
}

#[utoipa::path(get, path = "/readyz", tag = "health", operation_id = "readyz",
    summary = "Whether new calls may be sent here", security(()),
    responses((status = OK, body = schema::Health),
        (status = SERVICE_UNAVAILABLE, body = schema::Problem, content_type = "application/problem+json",
            description = "`not-ready`: `detail` says why")))]
async fn readyz(State(api): State<Arc<Api>>) -> Result<Json<schema::Health>, Problem> {
    match (api.ready)() {
        Ok(()) => Ok(Json(schema::Health { status: "ok" })),
        Err(why) => Err(Problem::new(Slug::NotReady, why)),
    }
}

/// The document with what holds of every route: security schemes and the refusals.
pub(super) fn complete_document() -> utoipa::openapi::OpenApi {
    let mut document = routes().into_openapi();
    let components = document.components.get_or_insert_default();
    components.add_security_scheme(
        "api_key",
        SecurityScheme::Http(
            HttpBuilder::new()
                .scheme(HttpAuthScheme::Bearer)
                .description(Some("An API key (`tw_...`) of an agent or an integration"))
                .build(),
        ),
    );
    components.add_security_scheme(
        "panel_cookie",
        SecurityScheme::ApiKey(ApiKey::Cookie(ApiKeyValue::with_description(
            super::SECURE_COOKIE,
            "The panel's session (`tonewall` on plain loopback). Changes also need `X-Tonewall: panel`",
        ))),
    );
    for (path, item) in &mut document.paths.paths {
        let operations = [
            &mut item.get,
            &mut item.put,
            &mut item.post,
            &mut item.delete,
        ];
        for operation in operations.into_iter().flatten() {
            add_refusals(path, operation);
            describe(operation);
        }
    }
    document
}

/// OpenAPI wants a description of every response.
fn describe(operation: &mut Operation) {
    for (status, response) in &mut operation.responses.responses {
        let RefOr::T(response) = response else {
            continue;
        };
        if response.description.is_empty() {
            let reason = status
                .parse::<u16>()
                .ok()
                .and_then(|s| StatusCode::from_u16(s).ok());
            let reason = reason.and_then(|status| status.canonical_reason());
            response.description = reason.unwrap_or(status).to_owned();
        }
    }
}

/// What refuses a request before its handler has seen it; the handlers name their own refusals.
fn add_refusals(path: &str, operation: &mut Operation) {
    let mut slugs = Vec::new();
    let guarded = path.starts_with("/v1/") || path == "/panel/leave";
    if guarded {
        slugs.extend([Slug::NotSignedIn, Slug::CrossSite]);
    }
    // Every role may ask who it is.
    if guarded && path != "/v1/session" {
        slugs.push(Slug::RoleRefused);
    }
    if guarded || path == "/panel/enter" {
        slugs.extend([
            Slug::TooManyAttempts,
            Slug::NotRecordable,
            Slug::Overloaded,
            Slug::Internal,
        ]);
    }
    if path.starts_with("/notifications/") {
        slugs.extend([
            Slug::BrokenOff,
            Slug::TooSlow,
            Slug::TooLarge,
            Slug::Overloaded,
            Slug::Internal,
        ]);
    }
    let in_query = |parameter: &RefOr<Parameter>| matches!(parameter, RefOr::T(p) if p.parameter_in == ParameterIn::Query);
    if operation.parameters.iter().flatten().any(in_query) {
        slugs.push(Slug::MalformedQuery);
    }
    if operation.request_body.is_some() {
        slugs.extend([
            Slug::MalformedJson,
            Slug::BrokenOff,
            Slug::TooSlow,
            Slug::TooLarge,
            Slug::MediaType,
            Slug::InvalidField,
        ]);
    }
    for slug in slugs {
        let status = slug.status().as_u16().to_string();
        let response = operation
            .responses
            .responses
            .entry(status)
            .or_insert_with(|| {
                ResponseBuilder::new()
                    .content(
                        "application/problem+json",
                        ContentBuilder::new()
                            .schema(Some(Ref::from_schema_name("Problem")))
                            .build(),
                    )
                    .build()
                    .into()
            });
        if let RefOr::T(response) = response {
            let word = slug.uri().trim_start_matches("urn:tonewall:problem:");
            if !response.description.contains(word) {
                if !response.description.is_empty() {
                    response.description.push_str(", ");
                }
                response.description.push_str(&format!("`{word}`"));
            }
        }
    }
}
