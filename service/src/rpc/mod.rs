//! The handlers of `assay.v1.Assay`, and of the Open Inference Protocol ([`inference`]). They translate: request, domain call, response.

mod attack;
mod audit;
mod certify;
mod gradient;
mod harden;
mod inference;
mod list;
mod model;
mod predict;
mod property;
mod request;
mod weights;

use std::sync::Arc;

use assay_proto::v1::{self, assay_server::Assay};
use tonic::{Request, Response, Status, Streaming};

use crate::{core::Core, job::Events};

pub(crate) use gradient::COTANGENT;
pub(crate) use request::{bounds, expected, labels};

/// The services.
#[derive(Clone, Debug)]
pub(crate) struct Handlers {
    core: Arc<Core>,
}

impl Handlers {
    /// Handlers that share `core`.
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self { core }
    }
}

#[tonic::async_trait]
impl Assay for Handlers {
    type AttackStream = Events<v1::AttackResponse>;
    type CertifyStream = Events<v1::CertifyResponse>;
    type HardenStream = Events<v1::HardenResponse>;
    type WatchAuditStream = Events<v1::WatchAuditResponse>;
    type WeightSurfaceStream = Events<v1::WeightSurfaceResponse>;

    async fn predict(&self, request: Request<v1::PredictRequest>) -> Result<Response<v1::PredictResponse>, Status> {
        Ok(Response::new(predict::predict(&self.core, &request).await?))
    }

    async fn gradient(&self, request: Request<v1::GradientRequest>) -> Result<Response<v1::GradientResponse>, Status> {
        Ok(Response::new(gradient::gradient(&self.core, request).await?))
    }

    async fn attack(&self, request: Request<v1::AttackRequest>) -> Result<Response<Self::AttackStream>, Status> {
        Ok(Response::new(attack::attack(&self.core, &request)?))
    }

    async fn certify(&self, request: Request<v1::CertifyRequest>) -> Result<Response<Self::CertifyStream>, Status> {
        Ok(Response::new(certify::certify(&self.core, &request)?))
    }

    async fn verify_property(
        &self,
        request: Request<v1::VerifyPropertyRequest>,
    ) -> Result<Response<v1::VerifyPropertyResponse>, Status> {
        Ok(Response::new(property::verify(&self.core, &request).await?))
    }

    async fn weight_surface(
        &self,
        request: Request<v1::WeightSurfaceRequest>,
    ) -> Result<Response<Self::WeightSurfaceStream>, Status> {
        Ok(Response::new(weights::surface_of(&self.core, &request)?))
    }

    async fn quote_audit(&self, request: Request<v1::QuoteAuditRequest>) -> Result<Response<v1::AuditQuote>, Status> {
        Ok(Response::new(audit::quote(&self.core, request).await?))
    }

    async fn start_audit(&self, request: Request<v1::StartAuditRequest>) -> Result<Response<v1::AuditJob>, Status> {
        Ok(Response::new(audit::start(&self.core, request).await?))
    }

    async fn watch_audit(
        &self,
        request: Request<v1::WatchAuditRequest>,
    ) -> Result<Response<Self::WatchAuditStream>, Status> {
        Ok(Response::new(audit::watch(&self.core, request)?))
    }

    async fn get_audit(&self, request: Request<v1::GetAuditRequest>) -> Result<Response<v1::AuditJob>, Status> {
        Ok(Response::new(audit::get(&self.core, request).await?))
    }

    async fn list_audits(
        &self,
        request: Request<v1::ListAuditsRequest>,
    ) -> Result<Response<v1::ListAuditsResponse>, Status> {
        Ok(Response::new(audit::list(&self.core, &request)?))
    }

    async fn cancel_audit(&self, request: Request<v1::CancelAuditRequest>) -> Result<Response<v1::AuditJob>, Status> {
        Ok(Response::new(audit::cancel(&self.core, request).await?))
    }

    async fn delete_audit(
        &self,
        request: Request<v1::DeleteAuditRequest>,
    ) -> Result<Response<v1::DeleteAuditResponse>, Status> {
        Ok(Response::new(audit::delete(&self.core, request).await?))
    }

    async fn upload_data(
        &self,
        request: Request<Streaming<v1::UploadDataRequest>>,
    ) -> Result<Response<v1::UploadDataResponse>, Status> {
        Ok(Response::new(audit::upload(&self.core, request).await?))
    }

    async fn find_data(&self, request: Request<v1::FindDataRequest>) -> Result<Response<v1::FindDataResponse>, Status> {
        Ok(Response::new(audit::find_data(&self.core, request).await?))
    }

    async fn harden(&self, request: Request<v1::HardenRequest>) -> Result<Response<Self::HardenStream>, Status> {
        Ok(Response::new(harden::harden(&self.core, request).await?))
    }

    async fn list_hardens(
        &self,
        request: Request<v1::ListHardensRequest>,
    ) -> Result<Response<v1::ListHardensResponse>, Status> {
        Ok(Response::new(harden::list(&self.core, &request)?))
    }

    async fn cancel_harden(
        &self,
        request: Request<v1::CancelHardenRequest>,
    ) -> Result<Response<v1::HardenJob>, Status> {
        Ok(Response::new(harden::cancel(&self.core, request).await?))
    }

    async fn list_models(&self, _: Request<v1::ListModelsRequest>) -> Result<Response<v1::ListModelsResponse>, Status> {
        Ok(Response::new(list::models(&self.core)))
    }

    async fn get_model(&self, request: Request<v1::GetModelRequest>) -> Result<Response<v1::GetModelResponse>, Status> {
        Ok(Response::new(model::model(&self.core, &request).await?))
    }

    async fn list_attacks(
        &self,
        _: Request<v1::ListAttacksRequest>,
    ) -> Result<Response<v1::ListAttacksResponse>, Status> {
        Ok(Response::new(list::attacks()))
    }
}
