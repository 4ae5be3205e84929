//! The handlers of the Open Inference Protocol, `inference.GRPCInferenceService`, with those extensions of Triton that fit: a stream of requests, classes in
//! the place of logits, configuration, statistics, and control of the repository.
//!
//! They give what `assay.v1.Assay` gives: the same models, the same numbers in and out, the same limits, places and roles. A model takes what `Predict` takes,
//! numbers in the range that its manifest states, not what its file takes.

mod infer;
mod metadata;
mod parameters;
mod repository;
mod statistics;
mod stream;
mod tensors;

use assay_proto::inference::{self as oip, grpc_inference_service_server::GrpcInferenceService};
use tonic::{Request, Response, Status, Streaming, codegen::BoxStream};

use super::Handlers;
use crate::{call::Call, status::CallError};

#[tonic::async_trait]
impl GrpcInferenceService for Handlers {
    async fn server_live(
        &self,
        _: Request<oip::ServerLiveRequest>,
    ) -> Result<Response<oip::ServerLiveResponse>, Status> {
        Ok(Response::new(oip::ServerLiveResponse { live: true }))
    }

    async fn server_ready(
        &self,
        _: Request<oip::ServerReadyRequest>,
    ) -> Result<Response<oip::ServerReadyResponse>, Status> {
        Ok(Response::new(oip::ServerReadyResponse { ready: self.core.not_ready().is_empty() }))
    }

    async fn model_ready(
        &self,
        request: Request<oip::ModelReadyRequest>,
    ) -> Result<Response<oip::ModelReadyResponse>, Status> {
        Ok(Response::new(metadata::ready(&self.core, &request)?))
    }

    async fn server_metadata(
        &self,
        _: Request<oip::ServerMetadataRequest>,
    ) -> Result<Response<oip::ServerMetadataResponse>, Status> {
        Ok(Response::new(metadata::server()))
    }

    async fn model_metadata(
        &self,
        request: Request<oip::ModelMetadataRequest>,
    ) -> Result<Response<oip::ModelMetadataResponse>, Status> {
        Ok(Response::new(metadata::model(&self.core, &request)?))
    }

    async fn model_infer(
        &self,
        request: Request<oip::ModelInferRequest>,
    ) -> Result<Response<oip::ModelInferResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.get_ref();
        self.core.repository.model(infer::MODEL, &request.model_name)?;
        call.about(&request.model_name);
        let answer = infer::infer(&self.core, &call.caller(), request, |samples| call.samples(samples)).await?;
        Ok(Response::new(answer))
    }

    async fn model_stream_infer(
        &self,
        request: Request<Streaming<oip::ModelInferRequest>>,
    ) -> Result<Response<BoxStream<oip::ModelStreamInferResponse>>, Status> {
        Ok(Response::new(stream::answers(&self.core, request)?))
    }

    async fn model_config(
        &self,
        request: Request<oip::ModelConfigRequest>,
    ) -> Result<Response<oip::ModelConfigResponse>, Status> {
        Ok(Response::new(metadata::config(&self.core, &request)?))
    }

    async fn model_statistics(
        &self,
        request: Request<oip::ModelStatisticsRequest>,
    ) -> Result<Response<oip::ModelStatisticsResponse>, Status> {
        Ok(Response::new(statistics::of(&self.core, request.get_ref())?))
    }

    async fn repository_index(
        &self,
        request: Request<oip::RepositoryIndexRequest>,
    ) -> Result<Response<oip::RepositoryIndexResponse>, Status> {
        Ok(Response::new(repository::index(&self.core, request.get_ref())?))
    }

    async fn repository_model_load(
        &self,
        request: Request<oip::RepositoryModelLoadRequest>,
    ) -> Result<Response<oip::RepositoryModelLoadResponse>, Status> {
        Ok(Response::new(repository::load(&self.core, &request).await?))
    }

    async fn repository_model_unload(
        &self,
        request: Request<oip::RepositoryModelUnloadRequest>,
    ) -> Result<Response<oip::RepositoryModelUnloadResponse>, Status> {
        Ok(Response::new(repository::unload(&self.core, &request).await?))
    }

    async fn system_shared_memory_status(
        &self,
        _: Request<oip::SystemSharedMemoryStatusRequest>,
    ) -> Result<Response<oip::SystemSharedMemoryStatusResponse>, Status> {
        Err(no_shared_memory().into())
    }

    async fn system_shared_memory_register(
        &self,
        _: Request<oip::SystemSharedMemoryRegisterRequest>,
    ) -> Result<Response<oip::SystemSharedMemoryRegisterResponse>, Status> {
        Err(no_shared_memory().into())
    }

    async fn system_shared_memory_unregister(
        &self,
        _: Request<oip::SystemSharedMemoryUnregisterRequest>,
    ) -> Result<Response<oip::SystemSharedMemoryUnregisterResponse>, Status> {
        Err(no_shared_memory().into())
    }

    async fn cuda_shared_memory_status(
        &self,
        _: Request<oip::CudaSharedMemoryStatusRequest>,
    ) -> Result<Response<oip::CudaSharedMemoryStatusResponse>, Status> {
        Err(no_shared_memory().into())
    }

    async fn cuda_shared_memory_register(
        &self,
        _: Request<oip::CudaSharedMemoryRegisterRequest>,
    ) -> Result<Response<oip::CudaSharedMemoryRegisterResponse>, Status> {
        Err(no_shared_memory().into())
    }

    async fn cuda_shared_memory_unregister(
        &self,
        _: Request<oip::CudaSharedMemoryUnregisterRequest>,
    ) -> Result<Response<oip::CudaSharedMemoryUnregisterResponse>, Status> {
        Err(no_shared_memory().into())
    }

    async fn trace_setting(
        &self,
        _: Request<oip::TraceSettingRequest>,
    ) -> Result<Response<oip::TraceSettingResponse>, Status> {
        let what = "the setting of traces".to_owned();
        Err(CallError::Unsupported { what, instead: "its log has a line for each call" }.into())
    }

    async fn log_settings(
        &self,
        _: Request<oip::LogSettingsRequest>,
    ) -> Result<Response<oip::LogSettingsResponse>, Status> {
        let what = "the setting of its log by a client".to_owned();
        Err(CallError::Unsupported { what, instead: "set log.level and log.format in its configuration" }.into())
    }
}

/// Clients ask for it to save copies; a server that reads a client's memory trusts its addresses.
fn no_shared_memory() -> CallError {
    CallError::Unsupported { what: "shared memory".to_owned(), instead: "send tensors in messages" }
}
