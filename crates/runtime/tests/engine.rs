//! The engine: every run is answered, whatever happens to it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::num::NonZeroUsize;
use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier};
use std::time::Duration;

use assay_runtime::{
    Array, Engine, EngineOptions, OnnxRuntime, Provider, RunError, RunObserver, SessionError, Tensors,
};
use ndarray::ArrayD;

const SOON: Duration = Duration::from_secs(60);

fn engine(runtime: &OnnxRuntime, options: &EngineOptions) -> Engine {
    Engine::start(runtime, &std::fs::read(support::fashion()).unwrap(), options).unwrap()
}

fn images(n: usize) -> Tensors {
    let x = ArrayD::from_shape_fn(vec![n, 1, 28, 28], |i| ((i[0] * 7 + i[2] * 3 + i[3]) % 11) as f32 / 10.0);
    [("x".to_owned(), Array::Float(x))].into()
}

#[test]
fn cuda_on_a_build_without_it_is_refused_unless_the_fallback_is_allowed() {
    let Some(runtime) = support::runtime() else { return };
    let bytes = std::fs::read(support::fashion()).unwrap();
    let options = EngineOptions { provider: Provider::Cuda { device: 3 }, ..Default::default() };
    match Engine::start(&runtime, &bytes, &options) {
        Err(e @ SessionError::Provider { provider: Provider::Cuda { device: 3 }, .. }) => {
            assert!(e.to_string().contains("cuda:3 is not available"), "{e}");
        }
        other => panic!("{other:?}"),
    }
    let engine = Engine::start(&runtime, &bytes, &EngineOptions { fallback: true, ..options }).unwrap();
    assert_eq!(engine.provider(), Provider::Cpu);
    engine.run(images(1)).unwrap();
}

#[test]
fn bytes_that_are_no_model_are_refused_with_the_reason() {
    let Some(runtime) = support::runtime() else { return };
    let error = Engine::start(&runtime, b"not a model", &EngineOptions::default()).unwrap_err();
    assert!(error.to_string().starts_with("ONNX Runtime refused the model: "), "{error}");
}

#[test]
fn tensors_that_do_not_fit_are_an_error_and_the_engine_goes_on() {
    let Some(runtime) = support::runtime() else { return };
    let engine = engine(&runtime, &EngineOptions::default());
    let wrong_shape = [("x".to_owned(), Array::Float(ArrayD::zeros(vec![1, 1, 5, 5])))].into();
    let wrong_type = [("x".to_owned(), Array::Int(ArrayD::zeros(vec![1, 1, 28, 28])))].into();
    let wrong_name = [("nobody".to_owned(), Array::Float(ArrayD::zeros(vec![1, 1, 28, 28])))].into();
    for inputs in [wrong_shape, wrong_type, wrong_name, Tensors::new()] {
        assert!(matches!(engine.run(inputs), Err(RunError::Runtime(text)) if !text.is_empty()));
    }
    engine.run(images(2)).unwrap();
}

#[test]
fn an_array_in_any_memory_order_means_the_same() {
    let Some(runtime) = support::runtime() else { return };
    let engine = engine(&runtime, &EngineOptions::default());
    let inputs = images(2);
    let Array::Float(x) = &inputs["x"] else { panic!() };
    let mut turned = ArrayD::zeros(vec![28, 28, 1, 2]);
    turned.assign(&x.t());
    let turned = [("x".to_owned(), Array::Float(turned.reversed_axes()))].into();
    assert_eq!(engine.run(turned).unwrap(), engine.run(inputs).unwrap());
}

/// An engine with one session, which is kept busy until the barrier is passed.
fn busy(runtime: &OnnxRuntime, queue: usize) -> (Arc<Engine>, Arc<Barrier>) {
    let options = EngineOptions { queue: NonZeroUsize::new(queue).unwrap(), ..Default::default() };
    let engine = Arc::new(engine(runtime, &options));
    let (entered, gate) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
    let (in_reply, until) = (Arc::clone(&entered), Arc::clone(&gate));
    std::mem::forget(engine.submit(images(1), move |_| {
        in_reply.wait();
        until.wait();
    }));
    entered.wait();
    (engine, gate)
}

#[test]
fn a_full_queue_is_said_at_once_and_a_cancelled_run_is_not_made() {
    let Some(runtime) = support::runtime() else { return };
    let (engine, gate) = busy(&runtime, 2);
    let (send, results) = channel();
    let submit = |name: &'static str| {
        let send = send.clone();
        engine.submit(images(1), move |result| send.send((name, result.map(drop))).unwrap())
    };
    let given_up = submit("given up");
    let kept = submit("kept");
    let refused = submit("refused");
    assert_eq!(results.recv_timeout(SOON).unwrap(), ("refused", Err(RunError::Busy)));
    drop((given_up, refused));
    gate.wait();
    assert_eq!(results.recv_timeout(SOON).unwrap(), ("given up", Err(RunError::Cancelled)));
    assert_eq!(results.recv_timeout(SOON).unwrap(), ("kept", Ok(())));
    drop(kept);
}

#[test]
fn each_run_tells_how_long_it_took_before_it_is_answered() {
    let Some(runtime) = support::runtime() else { return };
    let (send, times) = channel();
    let observer = RunObserver::new(move |times| send.send(times).unwrap());
    let engine = engine(&runtime, &EngineOptions { observer: Some(observer), ..Default::default() });
    for _ in 0..2 {
        engine.run(images(1)).unwrap();
        assert!(!times.try_recv().unwrap().ran.is_zero());
    }
    assert!(times.try_recv().is_err());
}

#[test]
fn a_closed_engine_answers_those_who_wait_and_those_who_come() {
    let Some(runtime) = support::runtime() else { return };
    let (engine, gate) = busy(&runtime, 8);
    let (send, results) = channel();
    let waiting = engine.submit(images(1), move |r| send.send(r.map(drop)).unwrap());
    let blocked = std::thread::spawn({
        let engine = Arc::clone(&engine);
        move || engine.run(images(1)).map(drop)
    });
    engine.close();
    assert_eq!(engine.run(images(1)), Err(RunError::Unloaded));
    gate.wait();
    assert_eq!(results.recv_timeout(SOON).unwrap(), Err(RunError::Unloaded));
    assert_eq!(blocked.join().unwrap(), Err(RunError::Unloaded));
    drop(waiting);
}

#[test]
fn dropping_an_engine_in_use_answers_every_run() {
    let Some(runtime) = support::runtime() else { return };
    let options = EngineOptions { sessions: NonZeroUsize::new(2).unwrap(), ..Default::default() };
    let engine = engine(&runtime, &options);
    let (send, results) = channel();
    let tickets: Vec<_> = (0..64)
        .map(|_| {
            let send = send.clone();
            engine.submit(images(8), move |r| send.send(r.map(drop)).unwrap())
        })
        .collect();
    drop(engine);
    let results: Vec<_> = results.try_iter().collect();
    assert_eq!(results.len(), tickets.len());
    assert!(results.iter().all(|r| matches!(r, Ok(()) | Err(RunError::Unloaded))), "{results:?}");
}

#[test]
fn a_reply_may_panic_and_may_hold_the_last_handle() {
    let Some(runtime) = support::runtime() else { return };
    let engine = Arc::new(engine(&runtime, &EngineOptions::default()));
    let ticket = engine.submit(images(1), |_| panic!("on purpose"));
    engine.run(images(1)).unwrap();
    drop(ticket);

    let (send, dropped) = channel();
    let last = Arc::clone(&engine);
    let (go, gone) = channel::<()>();
    let ticket = engine.submit(images(1), move |_| {
        gone.recv().unwrap();
        drop(last);
        send.send(()).unwrap();
    });
    drop(engine);
    go.send(()).unwrap();
    dropped.recv_timeout(SOON).unwrap();
    drop(ticket);
}
