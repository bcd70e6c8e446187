package dev.dyad.bindings;

import java.io.IOException;
import java.lang.foreign.GroupLayout;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.PaddingLayout;
import java.lang.foreign.SequenceLayout;
import java.lang.foreign.UnionLayout;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.stream.Stream;

/**
 * Two accounts of one family of generated bindings: what Java has, by reflection, and what the C compiler says of the same
 * names, by a program that is written, compiled and run. Keys are C expressions.
 */
final class LayoutProbe {

  /** The C compiler or its headers are not there; the message says which. */
  static final class Unavailable extends Exception {
    private static final long serialVersionUID = 1L;

    Unavailable(String message) {
      super(message);
    }
  }

  private final String family;
  private final Path headers;

  LayoutProbe(String family, Path headers) {
    this.family = family;
    this.headers = headers;
  }

  private Path header() {
    return headers.resolve(family.equals("wire") ? "dyad_wire.h" : family + ".h");
  }

  /** What Java has: {@code sizeof(...)}, {@code __builtin_offsetof(...)} and constants, each with its value. */
  Map<String, Long> java() throws IOException, ReflectiveOperationException {
    Map<String, Long> facts = new TreeMap<>();
    Set<String> typedefs = typedefs();
    for (Class<?> type : generatedClasses()) {
      Method layout = layoutMethod(type);
      if (layout != null) {
        GroupLayout group = (GroupLayout) layout.invoke(null);
        String kind = group instanceof UnionLayout ? "union " : "struct ";
        String name = type.getSimpleName();
        String cType = typedefs.contains(name) ? name : kind + name;
        if (!struct(group, cType, facts)) {
          nested(type, "((" + cType + " *)0)->", facts);
        }
      } else if (type.getSimpleName().endsWith("_h")) {
        constants(type, facts);
      }
    }
    return facts;
  }

  private List<Class<?>> generatedClasses() throws IOException, ReflectiveOperationException {
    String folder = "dev/dyad/bindings/abi/" + family;
    Path classes = Path.of("target", "classes").resolve(folder);
    List<Class<?>> found = new ArrayList<>();
    try (Stream<Path> files = Files.list(classes)) {
      for (Path file : files.sorted().toList()) {
        String name = file.getFileName().toString();
        if (name.endsWith(".class") && !name.contains("$")) {
          String simple = name.substring(0, name.length() - ".class".length());
          found.add(Class.forName(folder.replace('/', '.') + "." + simple));
        }
      }
    }
    return found;
  }

  private static @org.jspecify.annotations.Nullable Method layoutMethod(Class<?> type) {
    try {
      return type.getMethod("layout");
    } catch (NoSuchMethodException e) {
      return null;
    }
  }

  /** Structures that C knows by a typedef only, as the include list says. */
  private Set<String> typedefs() throws IOException {
    Set<String> names = new HashSet<>();
    Path list = headers.resolve(family + ".includes");
    if (Files.exists(list)) {
      for (String line : Files.readAllLines(list)) {
        if (line.startsWith("typedef ")) {
          names.addAll(List.of(line.split(" ")));
        }
      }
    }
    return names;
  }

  /** False when the layout has lost the names inside of it. */
  private static boolean struct(GroupLayout layout, String type, Map<String, Long> facts) {
    facts.put("sizeof(" + type + ")", layout.byteSize());
    facts.put("_Alignof(" + type + ")", layout.byteAlignment());
    return members(layout, type, "", 0, facts);
  }

  /** jextract loses the names of what is nested in a packed structure; its nested classes still have them. */
  private static void nested(Class<?> outer, String path, Map<String, Long> facts) throws ReflectiveOperationException {
    for (Class<?> inner : outer.getDeclaredClasses()) {
      Method layout = layoutMethod(inner);
      if (layout != null) {
        String member = path + inner.getSimpleName();
        struct((GroupLayout) layout.invoke(null), "__typeof__(" + member + ")", facts);
        nested(inner, member + ".", facts);
      }
    }
  }

  private static boolean members(GroupLayout group, String type, String prefix, long base, Map<String, Long> facts) {
    boolean named = true;
    long at = 0;
    for (MemoryLayout member : group.memberLayouts()) {
      long offset = base + (group instanceof UnionLayout ? 0 : at);
      at += member.byteSize();
      if (member instanceof PaddingLayout) {
        continue;
      }
      String name = member.name().orElse("");
      if (name.isEmpty()) {
        named = false;
        continue;
      }
      boolean anonymous = name.startsWith("$anon");
      String path = prefix + name;
      if (!anonymous) {
        facts.put("__builtin_offsetof(" + type + ", " + path + ")", offset);
        if (member.byteSize() > 0) {
          facts.put("sizeof(((" + type + " *)0)->" + path + ")", member.byteSize());
        }
      }
      String inside = anonymous ? prefix : path;
      MemoryLayout element = member;
      while (element instanceof SequenceLayout sequence) {
        element = sequence.elementLayout();
        inside += "[0]";
      }
      if (element instanceof GroupLayout nested) {
        named &= members(nested, type, anonymous ? inside : inside + ".", offset, facts);
      }
    }
    return named;
  }

  private static void constants(Class<?> type, Map<String, Long> facts)
      throws IllegalAccessException, InvocationTargetException {
    for (Method method : type.getMethods()) {
      boolean constant = Modifier.isStatic(method.getModifiers()) && method.getParameterCount() == 0;
      if (constant && method.getReturnType().isPrimitive() && !method.getName().contains("$")) {
        facts.put(constantKey(method), ((Number) method.invoke(null)).longValue());
      }
    }
  }

  // An unsigned int of C is an int of Java: the same bits.
  private static String constantKey(Method method) {
    return method.getReturnType() == int.class ? "(int)(" + method.getName() + ")" : "(" + method.getName() + ")";
  }

  /** What the C compiler says of these expressions. */
  Map<String, Long> c(Collection<String> expressions, Path work) throws IOException, InterruptedException, Unavailable {
    String compiler = System.getenv().getOrDefault("CC", "cc");
    Path empty = Files.writeString(work.resolve(family + "-headers.c"), "#include \"" + header().getFileName() + "\"\n");
    run(work, compiler, "-std=gnu11", "-fsyntax-only", "-I", headers.toString(), empty.toString());

    StringBuilder program = new StringBuilder("#include \"" + header().getFileName() + "\"\n#include <stdio.h>\n");
    program.append("int main(void) {\n");
    for (String expression : expressions) {
      program.append("    printf(\"%lld ").append(expression.replace("%", "%%")).append("\\n\", (long long)(")
          .append(expression).append("));\n");
    }
    program.append("    return 0;\n}\n");
    Path source = Files.writeString(work.resolve(family + ".c"), program);
    Path binary = work.resolve(family);
    Result compiled = execute(work, compiler, "-std=gnu11", "-w", "-O0", "-I", headers.toString(), "-o", binary.toString(), source.toString());
    if (compiled.exit != 0) {
      throw new AssertionError("names that Java has and C does not:\n" + compiled.output);
    }
    Map<String, Long> facts = new TreeMap<>();
    for (String line : run(work, binary.toString()).split("\n")) {
      int space = line.indexOf(' ');
      facts.put(line.substring(space + 1), Long.parseLong(line.substring(0, space)));
    }
    return facts;
  }

  /** One line for each fact that is not the same on both sides. */
  static List<String> differences(Map<String, Long> java, Map<String, Long> c) {
    List<String> differences = new ArrayList<>();
    java.forEach((key, value) -> {
      if (!value.equals(c.get(key))) {
        differences.add(key + ": Java has " + value + ", C has " + c.get(key));
      }
    });
    return differences;
  }

  private record Result(int exit, String output) {}

  private static String run(Path work, String... command) throws IOException, InterruptedException, Unavailable {
    Result result;
    try {
      result = execute(work, command);
    } catch (IOException e) {
      throw new Unavailable("no C compiler: " + e.getMessage());
    }
    if (result.exit != 0) {
      throw new Unavailable("headers are not installed: " + result.output.lines().findFirst().orElse(""));
    }
    return result.output;
  }

  private static Result execute(Path work, String... command) throws IOException, InterruptedException {
    Path output = Files.createTempFile(work, "output", ".txt");
    Process process =
        new ProcessBuilder(command).redirectErrorStream(true).redirectOutput(output.toFile()).start();
    int exit = process.waitFor();
    return new Result(exit, Files.readString(output));
  }
}
