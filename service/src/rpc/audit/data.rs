//! `UploadData` and `FindData`.

use std::sync::Arc;

use assay_proto::v1::{
    FindDataRequest, FindDataResponse, UploadDataRequest, UploadDataResponse, UploadHeader, upload_data_request::Part,
};
use bytes::Bytes;
use tokio::sync::mpsc;
use tonic::{Request, Streaming};

use super::blocking;
use crate::{core::Core, status::CallError};

/// Parts that wait for the disk.
const WAITING: usize = 4;

pub(in crate::rpc) async fn upload(
    core: &Arc<Core>,
    request: Request<Streaming<UploadDataRequest>>,
) -> Result<UploadDataResponse, CallError> {
    let mut parts = request.into_inner();
    let header = match next(&mut parts).await? {
        Some(Part::Header(header)) => header,
        _ => return Err(CallError::field("header", "missing; the first message says what is going to come")),
    };
    let (hand, chunks) = mpsc::channel(WAITING);
    let mut writing = Box::pin(blocking(core, move |core| write(core, &header, chunks)));
    let reading = async {
        while let Some(part) = next(&mut parts).await? {
            let Part::Chunk(chunk) = part else {
                return Err(CallError::field("header", "expected once, as the first message"));
            };
            if hand.send(Some(chunk)).await.is_err() {
                // Who writes has ended, and says why.
                return Ok(());
            }
        }
        let _ = hand.send(None).await;
        Ok(())
    };
    tokio::select! {
        read = reading => {
            read?;
            writing.await
        }
        written = &mut writing => written,
    }
}

pub(in crate::rpc) async fn find_data(
    core: &Arc<Core>,
    request: Request<FindDataRequest>,
) -> Result<FindDataResponse, CallError> {
    let content = request.into_inner().content;
    let found = blocking(core, move |core| core.audits.spool.find("content", &content)).await?;
    Ok(FindDataResponse { found: found.is_some() })
}

/// Receives the bytes, of which `None` is the end. Without an end there is no file. Blocks.
fn write(
    core: &Core,
    header: &UploadHeader,
    mut chunks: mpsc::Receiver<Option<Bytes>>,
) -> Result<UploadDataResponse, CallError> {
    let mut draft = core.audits.spool.receive(&header.content, header.size)?;
    while let Some(chunk) = chunks.blocking_recv() {
        match chunk {
            Some(chunk) => draft.write(&chunk)?,
            None => return Ok(UploadDataResponse { content: draft.finish()? }),
        }
    }
    Err(CallError::Cancelled)
}

/// The next part; `None`: that was all.
async fn next(parts: &mut Streaming<UploadDataRequest>) -> Result<Option<Part>, CallError> {
    match parts.message().await {
        Ok(None) => Ok(None),
        Ok(Some(UploadDataRequest { part: Some(part) })) => Ok(Some(part)),
        Ok(Some(_)) => Err(CallError::field("part", "missing; give a header or a chunk")),
        Err(status) if status.code() == tonic::Code::OutOfRange => Err(CallError::field(
            "chunk",
            format!("is larger than this server's limits.max_message_bytes ({}); send smaller parts", status.message()),
        )),
        // The stream broke: nobody is there to be told.
        Err(_) => Err(CallError::Cancelled),
    }
}
