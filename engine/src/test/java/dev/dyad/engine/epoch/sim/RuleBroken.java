package dev.dyad.engine.epoch.sim;

/** The checker objects. */
final class RuleBroken extends AssertionError {
  private static final long serialVersionUID = 1;

  private final Rule rule;

  RuleBroken(Rule rule, String what) {
    super(rule + " (" + rule.text() + "): " + what);
    this.rule = rule;
  }

  Rule rule() {
    return rule;
  }
}
