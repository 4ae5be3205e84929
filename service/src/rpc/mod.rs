//! The handlers of `assay.v1.Assay`. They translate: request, domain call, response.

mod attack;
mod audit;
mod gradient;
mod harden;
mod list;
mod metered;
mod model;
mod predict;
mod request;
mod weights;

use std::sync::Arc;

use assay_proto::v1::{self, assay_server::Assay};
use tonic::{Request, Response, Status};

use crate::{core::Core, job::Events};

pub(crate) use gradient::COTANGENT;

/// The service.
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
    type AuditStream = Events<v1::AuditResponse>;
    type HardenStream = Events<v1::HardenResponse>;
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

    async fn weight_surface(
        &self,
        request: Request<v1::WeightSurfaceRequest>,
    ) -> Result<Response<Self::WeightSurfaceStream>, Status> {
        Ok(Response::new(weights::surface_of(&self.core, &request)?))
    }

    async fn audit(&self, request: Request<v1::AuditRequest>) -> Result<Response<Self::AuditStream>, Status> {
        Ok(Response::new(audit::audit(&self.core, request)?))
    }

    async fn harden(&self, request: Request<v1::HardenRequest>) -> Result<Response<Self::HardenStream>, Status> {
        Ok(Response::new(harden::harden(&self.core, request).await?))
    }

    async fn list_hardens(
        &self,
        _: Request<v1::ListHardensRequest>,
    ) -> Result<Response<v1::ListHardensResponse>, Status> {
        Ok(Response::new(harden::list(&self.core)?))
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
