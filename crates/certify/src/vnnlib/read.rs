//! From the text of a file to a [`Property`].

use std::sync::Arc;

use super::VnnlibError;
use super::expression::{Expression, Reader};
use super::linear::{Linear, Variable};
use super::property::{Case, Constraint, InputBox, Property};

/// What a file may ask for, so that a small one cannot fill the memory: cases, constraints of all of them together, and numbers of all boxes.
const MOST_CASES: usize = 100_000;
const MOST_CONSTRAINTS: usize = 2_000_000;
const MOST_NUMBERS: usize = 1 << 26;

/// `linear <= 0`, of inputs only or of outputs only.
#[derive(Clone, Debug)]
struct Atom {
    line: usize,
    linear: Linear,
}

/// Atoms that hold together.
type Conjunction = Vec<Atom>;

/// What was read so far.
#[derive(Default)]
struct File {
    inputs: usize,
    outputs: usize,
    /// What holds in any case.
    always: Conjunction,
    /// The cases: each choice of these that is made.
    cases: Vec<Conjunction>,
}

impl Property {
    /// What a file in the format of VNN-LIB 1.0 asks: declarations of `X_i` and `Y_i`, and assertions of linear inequalities (`<=`, `>=`), joined by
    /// `and` and `or`. Each input needs a lower and an upper bound.
    ///
    /// # Errors
    /// It is not in that format, or asks for something else; the text names the line and what was expected.
    pub fn parse(text: &str) -> Result<Self, VnnlibError> {
        let mut file = File { cases: vec![Vec::new()], ..File::default() };
        let mut reader = Reader::new(text);
        while let Some(expression) = reader.next()? {
            file.command(&expression)?;
        }
        file.finish()
    }
}

impl File {
    fn command(&mut self, expression: &Expression<'_>) -> Result<(), VnnlibError> {
        let at = |text: String| VnnlibError::at(expression.line, text);
        match expression.call() {
            Some(("declare-const", [name, sort])) => self.declare(name, sort),
            Some(("declare-fun", [name, arguments, sort])) if is_empty(arguments) => self.declare(name, sort),
            Some(("assert", [formula])) => self.assert(formula),
            Some((command @ ("declare-const" | "declare-fun" | "assert"), _)) => {
                Err(at(format!("{command} has the wrong number of parts")))
            }
            Some((command, _)) => Err(at(format!("\"{command}\" is not known: expected declare-const or assert"))),
            None => Err(at("expected (declare-const …) or (assert …)".into())),
        }
    }

    /// Variables are declared in order, so that their number says how many there are.
    fn declare(&mut self, name: &Expression<'_>, sort: &Expression<'_>) -> Result<(), VnnlibError> {
        let at = |text: String| VnnlibError::at(name.line, text);
        let word = name.word().unwrap_or("(");
        if sort.word() != Some("Real") {
            return Err(at(format!("{word} is of the sort {}: expected Real", sort.word().unwrap_or("("))));
        }
        let next = match Variable::parse(word) {
            Some(Variable::Input(index)) => (index, &mut self.inputs, 'X'),
            Some(Variable::Output(index)) => (index, &mut self.outputs, 'Y'),
            None => return Err(at(format!("\"{word}\" is declared: expected X_i or Y_i with a number i"))),
        };
        let (index, count, kind) = next;
        if index != *count {
            return Err(at(format!("{word} is declared: expected {kind}_{count}, they are counted from 0 in order")));
        }
        *count += 1;
        Ok(())
    }

    fn assert(&mut self, formula: &Expression<'_>) -> Result<(), VnnlibError> {
        let mut found = self.cases_of(formula)?;
        if found.len() == 1 {
            self.always.append(&mut found[0]);
            return Ok(());
        }
        self.cases = product(std::mem::take(&mut self.cases), &found, formula.line)?;
        Ok(())
    }

    /// The ways in which a formula can hold.
    fn cases_of(&self, formula: &Expression<'_>) -> Result<Vec<Conjunction>, VnnlibError> {
        let at = |text: String| VnnlibError::at(formula.line, text);
        match formula.call() {
            Some(("and", parts)) if !parts.is_empty() => {
                let mut all = vec![Vec::new()];
                for part in parts {
                    let found = self.cases_of(part)?;
                    all = product(all, &found, part.line)?;
                }
                Ok(all)
            }
            Some(("or", parts)) if !parts.is_empty() => {
                let mut all = Vec::new();
                for part in parts {
                    all.append(&mut self.cases_of(part)?);
                    limited(&all, part.line)?;
                }
                Ok(all)
            }
            Some((relation @ ("<=" | ">="), [left, right])) => {
                let known = |variable: Variable| match variable {
                    Variable::Input(index) => index < self.inputs,
                    Variable::Output(index) => index < self.outputs,
                };
                let difference = Linear::read(left, &known)?.plus(&Linear::read(right, &known)?, -1.0);
                let linear = if relation == "<=" { difference } else { Linear::default().plus(&difference, -1.0) };
                Ok(vec![vec![Atom::new(formula.line, linear)?]])
            }
            Some((word @ ("and" | "or" | "<=" | ">="), _)) => Err(at(format!("{word} has the wrong number of parts"))),
            Some((word, _)) => Err(at(format!("\"{word}\" is not known: expected <=, >=, and, or"))),
            None => Err(at("expected an inequality, or several joined by and or or".into())),
        }
    }

    fn finish(self) -> Result<Property, VnnlibError> {
        let Self { inputs, outputs, always, cases } = self;
        if inputs == 0 || outputs == 0 {
            let which = if inputs == 0 { "input X_0" } else { "output Y_0" };
            return Err(VnnlibError::of_file(format!("no {which} is declared")));
        }
        let mut bounds = Bounds { lower: vec![f64::NEG_INFINITY; inputs], upper: vec![f64::INFINITY; inputs] };
        let mut shared = Vec::new();
        let feasible = bounds.take(&always, &mut shared)?;
        let own_boxes = cases.iter().filter(|case| case.iter().any(Atom::is_of_inputs)).count();
        if own_boxes.saturating_mul(2 * inputs) > MOST_NUMBERS {
            return Err(VnnlibError::of_file(format!(
                "{own_boxes} boxes of {inputs} inputs are more than fit the memory"
            )));
        }
        if shared.len().saturating_mul(cases.len()) > MOST_CONSTRAINTS {
            return Err(VnnlibError::of_file(format!(
                "{} constraints in {} cases are too many",
                shared.len(),
                cases.len()
            )));
        }
        let mut region = None;
        let mut found = Vec::new();
        for case in cases {
            let mut constraints = shared.clone();
            let (region, possible) = if case.iter().any(Atom::is_of_inputs) {
                let mut own = bounds.clone();
                let possible = own.take(&case, &mut constraints)?;
                (if feasible && possible { Some(own.boxed()?) } else { None }, possible)
            } else {
                let possible = case.iter().all(|atom| constrain(&atom.linear, &mut constraints));
                if region.is_none() && feasible {
                    region = Some(bounds.clone().boxed()?);
                }
                (region.clone(), possible)
            };
            if let (Some(region), true) = (region, possible) {
                found.push(Case { region, constraints });
            }
        }
        Ok(Property { inputs, outputs, cases: found })
    }
}

fn is_empty(expression: &Expression<'_>) -> bool {
    matches!(&expression.form, super::expression::Form::List(list) if list.is_empty())
}

impl Atom {
    /// # Errors
    /// Inputs and outputs are in one inequality, or several inputs.
    fn new(line: usize, linear: Linear) -> Result<Self, VnnlibError> {
        let inputs = linear.terms.iter().filter(|(variable, _)| matches!(variable, Variable::Input(_))).count();
        if inputs > 0 && inputs < linear.terms.len() {
            return Err(VnnlibError::at(
                line,
                "an inequality of inputs and outputs together: only boxes of inputs are known",
            ));
        }
        if inputs > 1 {
            return Err(VnnlibError::at(line, "an inequality of several inputs: only boxes of inputs are known"));
        }
        Ok(Self { line, linear })
    }

    fn is_of_inputs(&self) -> bool {
        matches!(self.linear.terms.first(), Some((Variable::Input(_), _)))
    }
}

/// All ways in which one of each holds.
fn product(all: Vec<Conjunction>, with: &[Conjunction], line: usize) -> Result<Vec<Conjunction>, VnnlibError> {
    if all.len().saturating_mul(with.len()) > MOST_CASES {
        return Err(VnnlibError::at(line, format!("more than {MOST_CASES} cases")));
    }
    let atoms = |cases: &[Conjunction]| cases.iter().map(Vec::len).sum::<usize>();
    let size = atoms(&all).saturating_mul(with.len()).saturating_add(atoms(with).saturating_mul(all.len()));
    if size > MOST_CONSTRAINTS {
        return Err(VnnlibError::at(line, format!("more than {MOST_CONSTRAINTS} inequalities in all cases together")));
    }
    if let [one] = with {
        let mut all = all;
        all.iter_mut().for_each(|case| case.extend(one.iter().cloned()));
        return Ok(all);
    }
    Ok(all.iter().flat_map(|a| with.iter().map(move |b| [a.as_slice(), b].concat())).collect())
}

fn limited(all: &[Conjunction], line: usize) -> Result<(), VnnlibError> {
    if all.len() > MOST_CASES {
        return Err(VnnlibError::at(line, format!("more than {MOST_CASES} cases")));
    }
    Ok(())
}

/// Bounds of the inputs, as they are found.
#[derive(Clone)]
struct Bounds {
    lower: Vec<f64>,
    upper: Vec<f64>,
}

impl Bounds {
    /// Takes the atoms of inputs as bounds and those of outputs as constraints; `false` where one of them can never hold.
    fn take(&mut self, atoms: &[Atom], constraints: &mut Vec<Constraint>) -> Result<bool, VnnlibError> {
        let mut possible = true;
        for Atom { line, linear } in atoms {
            let Some((Variable::Input(index), coefficient)) = linear.terms.first() else {
                possible &= constrain(linear, constraints);
                continue;
            };
            // coefficient · x + constant <= 0
            let end = -linear.constant / coefficient;
            if !end.is_finite() {
                return Err(VnnlibError::at(*line, "a bound beyond binary64"));
            }
            if *coefficient > 0.0 {
                self.upper[*index] = self.upper[*index].min(end);
            } else {
                self.lower[*index] = self.lower[*index].max(end);
            }
        }
        possible &= self.lower.iter().zip(&self.upper).all(|(low, high)| low <= high);
        Ok(possible)
    }

    /// # Errors
    /// An input has no end.
    fn boxed(self) -> Result<Arc<InputBox>, VnnlibError> {
        for (ends, which) in [(&self.lower, "lower"), (&self.upper, "upper")] {
            if let Some(index) = ends.iter().position(|end| !end.is_finite()) {
                return Err(VnnlibError::of_file(format!("X_{index} has no {which} bound: each input needs both")));
            }
        }
        Ok(Arc::new(InputBox { lower: self.lower, upper: self.upper }))
    }
}

/// Adds `linear <= 0` of outputs to `constraints`; `false` where it is of constants only, and wrong.
fn constrain(linear: &Linear, constraints: &mut Vec<Constraint>) -> bool {
    let term = |(variable, coefficient): &(Variable, f64)| match variable {
        Variable::Output(index) | Variable::Input(index) => (*index, *coefficient),
    };
    let terms: Vec<(usize, f64)> = linear.terms.iter().map(term).collect();
    if terms.is_empty() {
        return linear.constant <= 0.0;
    }
    constraints.push(Constraint { terms, bound: -linear.constant });
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str =
        "(declare-const X_0 Real)\n(declare-const X_1 Real)\n(declare-const Y_0 Real)\n(declare-const Y_1 Real)\n";
    const BOX: &str = "(assert (<= X_0 1))(assert (>= X_0 -1))(assert (>= 2.5e-1 X_1))(assert (<= 0 X_1))\n";

    fn parse(rest: &str) -> Result<Property, String> {
        Property::parse(&format!("{HEAD}{rest}")).map_err(|error| error.to_string())
    }

    #[test]
    fn a_file_of_the_competition_is_read() {
        let found =
            parse(&format!("{BOX}(assert (or (and (>= Y_0 Y_1)) (and (<= Y_1 -0.5) (<= (+ Y_0 (* 2 Y_1)) 3))))"))
                .unwrap();
        let region = Arc::new(InputBox { lower: vec![-1.0, 0.0], upper: vec![1.0, 0.25] });
        let constraint = |terms: &[(usize, f64)], bound| Constraint { terms: terms.to_vec(), bound };
        assert_eq!((found.inputs, found.outputs, found.cases.len()), (2, 2, 2));
        assert_eq!(
            found.cases[0],
            Case { region: region.clone(), constraints: vec![constraint(&[(0, -1.0), (1, 1.0)], 0.0)] }
        );
        assert_eq!(
            found.cases[1],
            Case { region, constraints: vec![constraint(&[(1, 1.0)], -0.5), constraint(&[(0, 1.0), (1, 2.0)], 3.0)] }
        );
        assert!(Arc::ptr_eq(&found.cases[0].region, &found.cases[1].region));
    }

    #[test]
    fn cases_have_boxes_of_their_own_and_assertions_hold_together() {
        let found = parse(&format!(
            "{BOX}(assert (or (and (<= X_0 0) (>= Y_0 1)) (and (>= X_0 0) (>= X_1 0.1) (<= X_1 0.05))))(assert (or (<= Y_1 1) (<= Y_1 2)))(assert (<= (- Y_0) (- 4 1)))"
        ))
        .unwrap();
        // The second box is empty.
        assert_eq!(found.cases.len(), 2);
        for (case, bound) in found.cases.iter().zip([1.0, 2.0]) {
            assert_eq!((case.region.lower.clone(), case.region.upper.clone()), (vec![-1.0, 0.0], vec![0.0, 0.25]));
            let bounds: Vec<f64> = case.constraints.iter().map(|c| c.bound).collect();
            assert_eq!(bounds, [3.0, -1.0, bound]);
        }
        assert_eq!(parse(&format!("{BOX}(assert (<= 2 1))")).unwrap().cases, []);
        assert_eq!(parse(&format!("{BOX}(assert (<= 2 X_0))")).unwrap().cases, [], "an empty box");
        assert_eq!(parse(BOX).unwrap().cases[0].constraints, []);
    }

    #[test]
    fn what_is_not_in_the_format_is_refused_with_its_line() {
        for (rest, expected) in [
            ("(assert (<= X_2 1))", "line 5: X_2 is not declared"),
            ("(declare-const X_3 Real)", "line 5: X_3 is declared: expected X_2"),
            ("(declare-const X_0 Real)", "line 5: X_0 is declared: expected X_2"),
            ("(declare-const Z_0 Real)", "\"Z_0\" is declared"),
            ("(declare-const X_2 Int)", "of the sort Int: expected Real"),
            ("(declare-const X_2)", "declare-const has the wrong number of parts"),
            ("(assert (< Y_0 1))", "\"<\" is not known: expected <=, >="),
            ("(assert (not (<= Y_0 1)))", "\"not\" is not known"),
            ("(assert (<= Y_0 1 2))", "<= has the wrong number of parts"),
            ("(assert (or))", "or has the wrong number of parts"),
            ("(assert Y_0)", "expected an inequality"),
            ("\n(assert (<= Y_0\n(/ 1 2)))", "line 7: expected a number, a variable"),
            ("(assert (<= (* Y_0 Y_1) 1))", "product of two variables"),
            ("(assert (<= X_0 Y_0))", "inputs and outputs together"),
            ("(assert (<= X_0 X_1))", "several inputs"),
            ("(assert (<= X_0 inf))", "\"inf\" is neither"),
            ("(assert (<= X_0 nan))", "\"nan\" is neither"),
            ("(assert (<= X_0 1e999))", "\"1e999\" is neither"),
            ("(assert (<= X_0 (* 1e300 1e300)))", "beyond binary64"),
            ("(assert (<= (* 1e-300 X_0) 1e300))", "a bound beyond binary64"),
            ("(assert (<= Y_00 1))", "\"Y_00\" is neither"),
            ("(check-sat)", "\"check-sat\" is not known"),
            ("word", "expected (declare-const"),
            ("(assert (<= X_0 1)) (assert (>= X_0 0)) (assert (>= X_1 0))", "X_1 has no upper bound"),
        ] {
            let error = parse(rest).unwrap_err();
            assert!(error.contains(expected), "{rest}: {error}");
        }
        assert_eq!(Property::parse("").unwrap_err().to_string(), "no input X_0 is declared");
        assert_eq!(Property::parse("(declare-const X_0 Real)").unwrap_err().to_string(), "no output Y_0 is declared");
    }

    #[test]
    fn a_small_file_cannot_ask_for_much() {
        let two = "(assert (or (<= Y_0 1) (<= Y_0 2)))";
        let error = parse(&format!("{BOX}{}", two.repeat(40))).unwrap_err();
        assert!(error.contains("more than 100000 cases"), "{error}");
        // Each case would hold all that is joined to them.
        let (cases, more) = ("(<= Y_0 1)".repeat(10_000), "(<= Y_1 2)".repeat(1000));
        let error = parse(&format!("{BOX}(assert (and (or {cases}) {more}))")).unwrap_err();
        assert!(error.contains("more than 2000000 inequalities"), "{error}");
        let nested = format!("(assert {}(<= Y_0 1){})", "(and ".repeat(70), ")".repeat(70));
        assert!(parse(&nested).unwrap_err().contains("64 brackets"));
    }
}
