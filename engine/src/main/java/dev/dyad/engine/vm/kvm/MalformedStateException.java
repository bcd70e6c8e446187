package dev.dyad.engine.vm.kvm;

/** A machine state that this machine cannot take: what was found and what is needed, in one line. Nothing has run. */
public final class MalformedStateException extends RuntimeException {
  private static final long serialVersionUID = 1L;

  public MalformedStateException(String message) {
    super(message);
  }
}
