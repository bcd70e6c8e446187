package dev.dyad.engine.epoch.sim;

/** The promise, rule by rule, and what a client outside can see of it. */
enum Rule {
  OUTPUT_COMMIT("output leaves only after the standby holds its epoch"),
  EXACT_RESUME("the standby resumes from exactly the last whole epoch"),
  ONE_RUNNER("at most one host runs the guest and lets output out"),
  NO_SILENT_LOSS("what does not fit ends the link, it never becomes state"),
  PROTECTION_RETURNS("protection comes back, and one fault never loses the guest"),
  LINEAR_HISTORY("a client sees one sequential history without a lost write or a reset connection");

  private final String text;

  Rule(String text) {
    this.text = text;
  }

  String text() {
    return text;
  }
}
