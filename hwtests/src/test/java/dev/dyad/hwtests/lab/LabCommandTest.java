package dev.dyad.hwtests.lab;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.dyad.engine.cli.Dyad;
import dev.dyad.engine.cli.ExitCode;
import java.io.PrintWriter;
import java.io.StringWriter;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** What is wrong is said in one line, before anything is done; none of this needs a lab. */
final class LabCommandTest {
  @ParameterizedTest
  @CsvSource(delimiter = '|', value = {
    "lab                            | one of up, run, fault, down is needed",
    "lab sideways                   | Unmatched argument",
    "lab up --memory much           | Invalid value for option '--memory'",
    "lab up --memory 100            | a host needs 512 MiB at least",
    "lab up --cpus 0                | 1 to 64 are possible",
    "lab run                        | Missing required parameter",
    "lab run --host 3 status        | a lab has the hosts 1 and 2",
    "lab fault cut                  | Missing required option: '--host",
    "lab fault --host 0 cut         | a lab has the hosts 1 and 2",
    "lab fault --host 1 earthquake  | no such fault: earthquake",
    "lab fault --host 1 jump far    | a number of seconds is needed",
  })
  void shouldSayInOneLineWhatIsWrong(String words, String said) {
    var errors = new StringWriter();
    int code = Dyad.commandLine().setErr(new PrintWriter(errors, true)).execute(words.split(" "));
    assertEquals(ExitCode.USAGE, code, errors::toString);
    assertEquals(1, errors.toString().lines().count(), errors::toString);
    assertTrue(errors.toString().startsWith("dyad: ") && errors.toString().contains(said), errors::toString);
  }
}
