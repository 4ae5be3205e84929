//! Certificates in an audit: what a plan says of them, and who makes them.

use assay_attack::{Cancel, Eps, Norm};
use assay_certify::{Certificate, CertifyError, Job, Method, Progress};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event::{Setup, ThreatId};
use crate::plan::{Plan, PlanError, wrong};
use crate::report::schema;

/// Against which threats samples are certified, and how.
///
/// There is no limit of time: what an audit finds must not depend on the machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Certification {
    /// `ibp`, `crown-ibp`, `crown` or `alpha-crown`: asked from the cheapest on, until one certifies a sample.
    #[serde(default = "usual")]
    #[schemars(schema_with = "schema::methods")]
    pub methods: Vec<Method>,
    /// Titles of the threats, such as `Linf 8/255`; absent: all in Linf, L2 or L1 whose radius is finite.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threats: Option<Vec<String>>,
}

/// Who certifies samples of a model.
pub trait Certifies: Sync {
    /// Whether every one of these methods has rules for the whole model.
    ///
    /// # Errors
    /// The node and the operator that stand in the way.
    fn supports(&self, methods: &[Method]) -> Result<(), String>;

    /// A certificate for each sample, in their order.
    ///
    /// # Errors
    /// As [`Certifier::certify`](assay_certify::Certifier::certify).
    fn certify(
        &self,
        job: &Job<'_>,
        observer: &mut dyn FnMut(Progress),
        cancel: &Cancel,
    ) -> Result<Vec<Certificate>, CertifyError>;
}

fn usual() -> Vec<Method> {
    vec![Method::Crown]
}

/// Whether there are certificates against a threat at all.
fn is_certifiable(norm: Norm, eps: &Eps) -> bool {
    norm != Norm::L0 && eps.is_finite()
}

impl Certification {
    /// The methods, each once, from the cheapest on.
    #[must_use]
    pub fn methods(&self) -> Vec<Method> {
        let mut methods = self.methods.clone();
        methods.sort_unstable();
        methods.dedup();
        methods
    }

    fn is_meant(&self, title: &str, norm: Norm, eps: &Eps) -> bool {
        match &self.threats {
            Some(titles) => titles.iter().any(|wanted| wanted == title),
            None => is_certifiable(norm, eps),
        }
    }

    /// Whether it fits the threats of its plan.
    pub(crate) fn check(&self, plan: &Plan) -> Result<(), PlanError> {
        let all: Vec<(String, Norm, &Eps)> = threats(plan).collect();
        if self.methods.is_empty() {
            let names = Method::ALL.map(Method::name).join(", ");
            let reason = format!("is empty; name some of {names}, or leave it out for crown");
            return Err(wrong("certification.methods", reason));
        }
        let Some(titles) = &self.threats else {
            if all.iter().any(|(_, norm, eps)| is_certifiable(*norm, eps)) {
                return Ok(());
            }
            let reason = "has nothing to certify: no evaluation has a finite radius in Linf, L2 or L1; add one, or leave this out";
            return Err(wrong("certification", reason));
        };
        if titles.is_empty() {
            return Err(wrong("certification.threats", "is empty; leave it out to certify against all threats"));
        }
        for (i, title) in titles.iter().enumerate() {
            let field = format!("certification.threats[{i}]");
            let Some((_, norm, eps)) = all.iter().find(|(known, ..)| known == title) else {
                let known: Vec<_> = all.iter().map(|(title, ..)| format!("\"{title}\"")).collect();
                let reason = format!("no evaluation has the threat \"{title}\"; there is {}", known.join(", "));
                return Err(wrong(field, reason));
            };
            if !is_certifiable(*norm, eps) {
                let reason = format!(
                    "there are no certificates against \"{title}\": they need a finite radius in Linf, L2 or L1"
                );
                return Err(wrong(field, reason));
            }
        }
        Ok(())
    }
}

/// All threats of a plan: title, norm and radius.
fn threats(plan: &Plan) -> impl Iterator<Item = (String, Norm, &Eps)> {
    plan.evaluations.iter().flat_map(|evaluation| {
        evaluation.titles().into_iter().zip(&evaluation.eps).map(|(title, eps)| (title, evaluation.norm, eps))
    })
}

impl Plan {
    /// Titles of the threats that samples are certified against, in the order of the evaluations.
    pub(crate) fn certified(&self) -> Vec<String> {
        let Some(certification) = &self.certification else { return Vec::new() };
        let meant = threats(self).filter(|(title, norm, eps)| certification.is_meant(title, *norm, eps));
        meant.map(|(title, ..)| title).collect()
    }
}

impl Setup {
    /// The methods by which samples are certified against a threat, from the cheapest on; `None`: they are not.
    pub(crate) fn certified_by(&self, threat: ThreatId) -> Option<Vec<Method>> {
        let facts = self.threats.get(threat.0 as usize)?;
        let certification = self.plan.certification.as_ref()?;
        certification.is_meant(&facts.title(), facts.norm, &facts.eps).then(|| certification.methods())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVALUATIONS: &str = "[[evaluations]]\nnorm = \"Linf\"\neps = [\"2/255\", \"8/255\"]\nattacks = [{ name = \"pgd\" }]\n\
        [[evaluations]]\nname = \"nearest\"\nnorm = \"L2\"\neps = \"inf\"\nattacks = [{ name = \"fmn\" }]\n";

    fn plan(certification: &str) -> Result<Plan, String> {
        let text =
            format!("schema = 1\nmodels = [{{ name = \"a\" }}]\n{EVALUATIONS}[certification]\n{certification}\n");
        Plan::parse(&text).map_err(|error| error.to_string())
    }

    #[test]
    fn it_is_about_all_threats_that_have_certificates_or_those_that_are_named() {
        let usual = plan("").unwrap();
        assert_eq!(usual.certified(), ["Linf 2/255", "Linf 8/255"]);
        assert_eq!(usual.certification.as_ref().unwrap().methods(), [Method::Crown]);
        let named = plan("methods = [\"crown\", \"ibp\", \"crown\"]\nthreats = [\"Linf 8/255\"]").unwrap();
        assert_eq!(named.certified(), ["Linf 8/255"]);
        assert_eq!(named.certification.as_ref().unwrap().methods(), [Method::Ibp, Method::Crown]);
        assert_eq!(Plan::parse(&toml::to_string(&named).unwrap()).unwrap(), named);
        let none = Plan::parse(&format!("schema = 1\nmodels = [{{ name = \"a\" }}]\n{EVALUATIONS}")).unwrap();
        assert!(none.certified().is_empty() && none.certification.is_none());
        assert!(!toml::to_string(&none).unwrap().contains("certification"));
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_line() {
        for (certification, words) in [
            (
                "methods = []",
                "line 13: certification.methods: is empty; name some of ibp, crown-ibp, crown, alpha-crown",
            ),
            ("methods = [\"crwn\"]", "did you mean `crown`?"),
            ("threats = []", "line 13: certification.threats: is empty"),
            ("threats = [\"Linf 1\"]", "certification.threats[0]: no evaluation has the threat \"Linf 1\"; there is"),
            ("threats = [\"Linf 2/255\", \"nearest\"]", "certification.threats[1]: there are no certificates against"),
            ("seconds = 5", "unknown field `seconds`"),
        ] {
            let error = plan(certification).unwrap_err();
            assert!(error.contains(words), "{words} not in {error}");
        }
        let blind = "schema = 1\nmodels = [{ name = \"a\" }]\n[certification]\n[[evaluations]]\nnorm = \"L0\"\neps = \"3\"\nattacks = [{ name = \"pixle\" }]";
        let error = Plan::parse(blind).unwrap_err().to_string();
        assert!(error.contains("certification: has nothing to certify"), "{error}");
    }
}
