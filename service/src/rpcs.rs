//! The RPCs that the server answers: who may call each, and which are about a model.

use crate::{config::Role, metrics::UNKNOWN};

/// What a call needs where there are keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needs {
    /// No key: whoever watches over the server calls it. It is answered while the server drains, too.
    Nothing,
    /// A key, whatever its roles.
    Key,
    /// A key with this role, or with [`Role::Admin`].
    Role(Role),
}

/// An RPC. Its name is that of no other, whatever their services.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Rpc {
    /// Its name in its service, in metrics and in the log.
    pub(crate) name: &'static str,
    pub(crate) needs: Needs,
    /// Whether it is about one model, which is then a label of its metrics.
    pub(crate) about_model: bool,
}

/// An RPC of a service that is not in the table: for the admin, who is told that it does not exist.
static OTHER: Rpc = Rpc { name: UNKNOWN, needs: Needs::Role(Role::Admin), about_model: false };

/// The table: services by name, and their RPCs. Only these go through the call layer.
static SERVICES: [(&str, &[Rpc]); 2] = [("assay.v1.Assay", &ASSAY), ("inference.GRPCInferenceService", &INFERENCE)];

static ASSAY: [Rpc; 21] = [
    about_model("Predict", Needs::Role(Role::Predict)),
    about_model("Gradient", Needs::Role(Role::Gradient)),
    about_model("Attack", Needs::Role(Role::Attack)),
    about_model("Certify", Needs::Role(Role::Attack)),
    about_model("VerifyProperty", Needs::Role(Role::Attack)),
    about_model("WeightSurface", Needs::Role(Role::Attack)),
    about_model("QuoteAudit", Needs::Role(Role::Audit)),
    about_model("StartAudit", Needs::Role(Role::Audit)),
    rpc("WatchAudit", Needs::Role(Role::Audit)),
    rpc("GetAudit", Needs::Role(Role::Audit)),
    rpc("ListAudits", Needs::Role(Role::Audit)),
    rpc("CancelAudit", Needs::Role(Role::Audit)),
    rpc("DeleteAudit", Needs::Role(Role::Audit)),
    rpc("UploadData", Needs::Role(Role::Audit)),
    rpc("FindData", Needs::Role(Role::Audit)),
    rpc("Harden", Needs::Role(Role::Harden)),
    rpc("ListHardens", Needs::Role(Role::Harden)),
    rpc("CancelHarden", Needs::Role(Role::Harden)),
    about_model("GetModel", Needs::Key),
    rpc("ListModels", Needs::Key),
    rpc("ListAttacks", Needs::Key),
];

static INFERENCE: [Rpc; 20] = [
    rpc("ServerLive", Needs::Nothing),
    rpc("ServerReady", Needs::Nothing),
    about_model("ModelReady", Needs::Key),
    rpc("ServerMetadata", Needs::Key),
    about_model("ModelMetadata", Needs::Key),
    about_model("ModelInfer", Needs::Role(Role::Predict)),
    // A stream may name another model in each of its messages.
    rpc("ModelStreamInfer", Needs::Role(Role::Predict)),
    about_model("ModelConfig", Needs::Key),
    rpc("ModelStatistics", Needs::Key),
    rpc("RepositoryIndex", Needs::Key),
    about_model("RepositoryModelLoad", Needs::Role(Role::Admin)),
    about_model("RepositoryModelUnload", Needs::Role(Role::Admin)),
    rpc("SystemSharedMemoryStatus", Needs::Role(Role::Admin)),
    rpc("SystemSharedMemoryRegister", Needs::Role(Role::Admin)),
    rpc("SystemSharedMemoryUnregister", Needs::Role(Role::Admin)),
    rpc("CudaSharedMemoryStatus", Needs::Role(Role::Admin)),
    rpc("CudaSharedMemoryRegister", Needs::Role(Role::Admin)),
    rpc("CudaSharedMemoryUnregister", Needs::Role(Role::Admin)),
    rpc("TraceSetting", Needs::Role(Role::Admin)),
    rpc("LogSettings", Needs::Role(Role::Admin)),
];

const fn rpc(name: &'static str, needs: Needs) -> Rpc {
    Rpc { name, needs, about_model: false }
}

const fn about_model(name: &'static str, needs: Needs) -> Rpc {
    Rpc { name, needs, about_model: true }
}

/// Every RPC.
pub(crate) fn all() -> impl Iterator<Item = &'static Rpc> {
    SERVICES.iter().flat_map(|(_, rpcs)| rpcs.iter())
}

/// Names of the services.
pub(crate) fn services() -> impl Iterator<Item = &'static str> {
    SERVICES.iter().map(|(name, _)| *name)
}

/// The RPC of a path; `None`: it is of a service that is not in the table.
pub(crate) fn of_path(path: &str) -> Option<&'static Rpc> {
    let (service, method) = path.strip_prefix('/')?.split_once('/')?;
    let (_, rpcs) = SERVICES.iter().find(|(name, _)| *name == service)?;
    Some(rpcs.iter().find(|rpc| rpc.name == method).unwrap_or(&OTHER))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost::Message;
    use prost_types::FileDescriptorSet;

    use super::*;

    #[test]
    fn the_table_has_every_rpc_of_the_contracts_and_no_other() {
        for (descriptors, (name, rpcs)) in
            [assay_proto::v1::FILE_DESCRIPTOR_SET, assay_proto::inference::FILE_DESCRIPTOR_SET]
                .into_iter()
                .zip(&SERVICES)
        {
            let files = FileDescriptorSet::decode(descriptors).unwrap().file;
            let service = files.iter().find_map(|file| {
                file.service.iter().find(|service| format!("{}.{}", file.package(), service.name()) == *name)
            });
            let contract: BTreeSet<_> = service.unwrap().method.iter().map(|method| method.name()).collect();
            assert_eq!(rpcs.iter().map(|rpc| rpc.name).collect::<BTreeSet<_>>(), contract, "{name}");
        }
    }

    #[test]
    fn names_are_labels_so_each_is_there_once() {
        assert_eq!(all().map(|rpc| rpc.name).collect::<BTreeSet<_>>().len(), all().count());
    }

    #[test]
    fn a_path_is_that_of_one_rpc_or_for_the_admin() {
        assert_eq!(of_path("/inference.GRPCInferenceService/ModelInfer").unwrap().name, "ModelInfer");
        for path in ["/assay.v1.Assay/ModelInfer", "/assay.v1.Assay//Predict", "/assay.v1.Assay/Predict/"] {
            assert_eq!(of_path(path), Some(&OTHER), "{path}");
        }
        for path in ["", "/", "assay.v1.Assay/Predict", "//assay.v1.Assay/Predict", "/grpc.health.v1.Health/Check"] {
            assert_eq!(of_path(path), None, "{path}");
        }
    }
}
