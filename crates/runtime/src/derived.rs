//! Gradient graphs of one model, each with sessions of its own, made when they are first asked for.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use assay_graph::{Loss, Model, ShapeError, Shaped, TransformError, Value, gradient, vjp};
use ndarray::{Array1, s};

use crate::memory::Budget;
use crate::native::Session;
use crate::session::{Array, Source, Tensors};
use crate::{Class, Engine, EngineOptions, LoadCause, Objective, OnnxRuntime, RunError};

/// The function of the logits that is differentiated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Of {
    /// A loss at labels.
    Loss(Loss),
    /// The product with a cotangent that the caller gives.
    Cotangent,
}

impl fmt::Display for Of {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loss(loss) => loss.fmt(f),
            Self::Cotangent => f.write_str("a cotangent"),
        }
    }
}

/// A gradient graph and the sessions that run it, with the names of its inputs and outputs.
pub(crate) struct Derived {
    pub(crate) engine: Engine,
    /// Most samples of one run.
    pub(crate) most: usize,
    /// Input: classes, i64 `[n]`; none for a cotangent.
    pub(crate) labels: Option<String>,
    /// Input: classes, i64 `[n]`; for a loss that has targets.
    pub(crate) targets: Option<String>,
    /// Input: `[n, classes]`.
    pub(crate) cotangent: Option<String>,
    /// Output: `[n, classes]`.
    pub(crate) logits: String,
    /// Output: `[n]`; none for a cotangent.
    pub(crate) loss: Option<String>,
    /// Output: of the input's shape.
    pub(crate) gradient: String,
}

/// How the sessions of a gradient share the processors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Layout {
    /// As those of the forward pass: few sessions, each with several threads. Best for a few samples.
    Joint,
    /// A session of one thread for each processor. No thread waits for another one in the middle of a run, which is best where
    /// there are samples for each.
    Lanes,
}

/// What was derived from one model so far, or why it could not be: by the function, by how its sessions share the processors, and by the
/// most samples of one run.
#[derive(Default)]
pub(crate) struct Cache(Mutex<HashMap<(Of, Layout, usize), Made>>);

type Made = Result<Arc<Derived>, RunError>;

impl Cache {
    /// The sessions of the gradient of `of`, which `make` makes when they are first asked for. `open` says whether the model
    /// is still hosted.
    pub(crate) fn get(
        &self,
        of: (Of, Layout, usize),
        make: impl FnOnce() -> Result<Derived, RunError>,
        open: impl Fn() -> bool,
    ) -> Result<Arc<Derived>, RunError> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !open() {
            return Err(RunError::Unloaded);
        }
        if let Some(derived) = all.get(&of) {
            return derived.clone();
        }
        let derived = make().map(Arc::new);
        // That a model has no gradient does not change; another failure may pass.
        if matches!(derived, Ok(_) | Err(RunError::NoGradient(_))) {
            all.insert(of, derived.clone());
        }
        derived
    }

    /// Has the sessions of `derived` opened anew when they are asked for again: a run that failed may have left one in a state that no other run should meet.
    pub(crate) fn forget(&self, derived: &Arc<Derived>) {
        let is_it = |made: &Made| made.as_ref().is_ok_and(|made| Arc::ptr_eq(made, derived));
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, made| !is_it(made));
    }

    /// Closes all sessions.
    pub(crate) fn close(&self) {
        for derived in self.0.lock().unwrap_or_else(PoisonError::into_inner).values().flatten() {
            derived.engine.close();
        }
    }
}

impl Derived {
    /// The inputs, besides the samples, for those in `range`.
    pub(crate) fn inputs(&self, objective: Objective<'_>, range: Range<usize>) -> Tensors {
        let classes = |name: &Option<String>, classes: Option<&[Class]>| {
            let classes = classes.and_then(|classes| classes.get(range.clone()));
            name.clone().zip(classes.map(indices))
        };
        match objective {
            Objective::Loss { labels, targets, .. } => {
                [classes(&self.labels, Some(labels)), classes(&self.targets, targets)].into_iter().flatten().collect()
            }
            Objective::Cotangent(w) => {
                let rows = w.slice(s![range, ..]).as_standard_layout().into_owned().into_dyn();
                self.cotangent.iter().map(|name| (name.clone(), Array::Float(rows.clone()))).collect()
            }
        }
    }

    pub(crate) fn new(
        of: Of,
        model: &Shaped,
        runtime: &OnnxRuntime,
        options: &EngineOptions,
        budget: &Budget,
    ) -> Result<Self, RunError> {
        let start = |graph: &Model| {
            let most = |session: &mut Session, provider| budget.most(session, provider);
            Engine::start_and(runtime, Source::Model(graph), options, most).map_err(|cause: LoadCause| {
                let text = format!("the gradient graph of {of}: {cause}");
                if matches!(cause, LoadCause::Memory(_)) { RunError::NoGradient(text) } else { RunError::Runtime(text) }
            })
        };
        let missing = |e: TransformError| RunError::NoGradient(e.to_string());
        match of {
            Of::Loss(loss) => {
                let graph = gradient(model, loss).map_err(missing)?;
                let (engine, most) = start(&graph.model)?;
                Ok(Self {
                    engine,
                    most,
                    labels: Some(graph.labels.to_string()),
                    targets: graph.targets.map(|targets| targets.to_string()),
                    cotangent: None,
                    logits: graph.logits.to_string(),
                    loss: Some(graph.loss.to_string()),
                    gradient: graph.gradient.to_string(),
                })
            }
            Of::Cotangent => {
                let odd = |e: ShapeError| RunError::NoGradient(e.to_string());
                let (logits, input) = (model.logits().map_err(odd)?, model.input().map_err(odd)?);
                let graph = vjp(model, std::slice::from_ref(logits), std::slice::from_ref(input)).map_err(missing)?;
                let only = |values: Vec<Value>| values.first().map(ToString::to_string);
                let (engine, most) = start(&graph.model)?;
                Ok(Self {
                    engine,
                    most,
                    labels: None,
                    targets: None,
                    cotangent: only(graph.cotangents),
                    logits: logits.to_string(),
                    loss: None,
                    gradient: only(graph.products).unwrap_or_default(),
                })
            }
        }
    }
}

fn indices(classes: &[Class]) -> Array {
    Array::Int(classes.iter().map(|class| i64::from(class.0)).collect::<Array1<i64>>().into_dyn())
}
