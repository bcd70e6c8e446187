package dev.dyad.engine.cli;

import java.net.InetSocketAddress;
import picocli.CommandLine.ITypeConverter;
import picocli.CommandLine.TypeConversionException;

/** {@code HOST:PORT}, with IPv6 addresses in brackets. */
public final class HostPort implements ITypeConverter<InetSocketAddress> {
  @Override
  public InetSocketAddress convert(String text) {
    int colon = text.lastIndexOf(':');
    try {
      String host = text.substring(0, colon).replaceAll("^\\[|\\]$", "");
      int port = Integer.parseInt(text.substring(colon + 1));
      if (!host.isEmpty() && port >= 1 && port <= 65535) {
        return InetSocketAddress.createUnresolved(host, port);
      }
    } catch (IndexOutOfBoundsException | NumberFormatException e) {
      // Reported below: the same answer for every way of being wrong.
    }
    throw new TypeConversionException("'" + text + "' is not HOST:PORT; needed is for instance 127.0.0.1:7400 or [::1]:7400");
  }
}
