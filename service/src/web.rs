//! gRPC-Web, for pages in browsers, and which pages may call (CORS).

use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};
use tonic_web::GrpcWebLayer;
use tower::{
    layer::util::Identity,
    util::{Either, option_layer},
};
use tower_http::cors::{AllowHeaders, AllowOrigin, Any, CorsLayer};

/// How long a browser may remember that a page may call.
const REMEMBERED: Duration = Duration::from_secs(3600);
/// What a page may read of an answer that failed at once.
const STATUS: [&str; 3] = ["grpc-status", "grpc-message", "grpc-status-details-bin"];

/// Tells browsers which pages may call.
pub(crate) type Allowed = Either<CorsLayer, Identity>;
/// Translates gRPC-Web.
pub(crate) type Spoken = Either<GrpcWebLayer, Identity>;

/// Both for pages of these origins; nothing where there are none.
pub(crate) fn layers(origins: &[String]) -> (Allowed, Spoken) {
    let cors = (!origins.is_empty()).then(|| {
        let allowed = if origins.iter().any(|origin| origin == "*") {
            AllowOrigin::from(Any)
        } else {
            AllowOrigin::list(origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()))
        };
        CorsLayer::new()
            .allow_origin(allowed)
            .allow_methods([Method::POST])
            // Metadata are headers, and their names are the caller's.
            .allow_headers(AllowHeaders::mirror_request())
            .expose_headers(STATUS.map(HeaderName::from_static))
            .max_age(REMEMBERED)
    });
    let web = cors.is_some().then(GrpcWebLayer::new);
    (option_layer(cors), option_layer(web))
}
