package dev.dyad.engine.cli;

import static java.util.Objects.requireNonNull;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.dyad.engine.node.MicroVmTuning;
import dev.dyad.engine.node.MicroVmTuning.Tracking;
import java.io.PrintWriter;
import java.io.StringWriter;
import org.junit.jupiter.api.Test;
import picocli.CommandLine;
import picocli.CommandLine.ArgGroup;

/** The techniques of a pause, as they are typed. */
class TuningOptionsTest {
  static final class Holder implements Runnable {
    @ArgGroup(validate = false, heading = TuningOptions.HEADING)
    TuningOptions tuning = new TuningOptions();

    @Override
    public void run() {}
  }

  private static MicroVmTuning parsed(String... words) {
    Holder holder = new Holder();
    new CommandLine(holder).parseArgs(words);
    return holder.tuning.tuning();
  }

  @Test
  void shouldBeTheUsualOnesWhenNothingIsSaid() {
    assertEquals(MicroVmTuning.USUAL, parsed());
  }

  @Test
  void shouldSwitchEachByItself() {
    assertEquals(new MicroVmTuning(Tracking.BEST, 64, false, true, 0), parsed("--hot-pages", "64"));
    assertEquals(new MicroVmTuning(Tracking.BEST, 0, true, true, 0), parsed("--copy-on-write"));
    assertEquals(new MicroVmTuning(Tracking.BEST, 0, false, false, 0), parsed("--serial-capture"));
    assertEquals(new MicroVmTuning(Tracking.LOG, 0, false, true, 0), parsed("--tracker", "log"));
    assertEquals(new MicroVmTuning(Tracking.RING, 0, false, true, 500_000), parsed("--tracker", "ring", "--early", "500us"));
  }

  @Test
  void shouldRefuseInOneLineWhatDoesNotGoTogether() {
    for (String[] wrong : new String[][] {{"--hot-pages", "64", "--tracker", "log"}, {"--hot-pages", "-1"}, {"--hot-pages", "100000"}, {"--tracker", "none"}}) {
      String[] words = new String[wrong.length + 3];
      System.arraycopy(wrong, 0, words, 3, wrong.length);
      words[0] = "protect";
      words[1] = "--to";
      words[2] = "127.0.0.1:1";
      StringWriter err = new StringWriter();
      assertEquals(ExitCode.USAGE, Dyad.commandLine().setErr(new PrintWriter(err)).execute(words), err.toString());
      assertEquals(1, err.toString().lines().count(), err.toString());
    }
  }

  @Test
  void shouldStandApartInTheHelp() {
    for (String command : new String[] {"protect", "standby"}) {
      String help = requireNonNull(Dyad.commandLine().getSubcommands().get(command)).getUsageMessage(CommandLine.Help.Ansi.OFF);
      assertTrue(help.indexOf("--hot-pages", help.indexOf("For experts")) > 0, help);
    }
  }
}
