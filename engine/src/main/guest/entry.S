/*
 * CPL0: entry of every vCPU, descriptor tables, interrupt handlers. Each handler finds its vCPU's page by its stack pointer.
 */
#include "guest.h"

        .section .entry, "ax"
        .globl  entry
base:
entry:                                  /* long mode, interrupts off, rdi = number of the vCPU */
        movq    %rdi, %rax
        shlq    $12, %rax
        leaq    (CPU_PAGES_AT + 4096)(%rax), %rsp
        movq    %rdi, %rbx
        call    prologue
        lgdt    gdtPointer
        lidt    idtPointer
        movq    %rbx, %rax
        shlq    $4, %rax
        addq    $SELECTOR_TSS, %rax
        ltr     %ax
        movl    $SELECTOR_DATA3, %eax
        movl    %eax, %ds
        movl    %eax, %es
        movq    %rbx, %rax
        shlq    $13, %rax
        leaq    (USER_STACKS_AT + USER_STACK_BYTES - 8)(%rax), %rcx
        pushq   $SELECTOR_DATA3
        pushq   %rcx
        pushq   $0x202
        pushq   $SELECTOR_CODE3
        pushq   $userMain
        movq    %rbx, %rdi
        iretq

timer:
        pushq   %rax
        movq    %rsp, %rax
        andq    $-4096, %rax
        incq    CPU_TICKS(%rax)
        cmpq    $0, CPU_DEADLINE_STEP(%rax)
        jne     deadline
        movl    $LAPIC_EOI, %eax
        movl    $0, (%rax)
        popq    %rax
        iretq
deadline:
        pushq   %rcx
        pushq   %rdx
        movq    CPU_DEADLINE_STEP(%rax), %rcx
        rdtsc
        shlq    $32, %rdx
        orq     %rdx, %rax
        addq    %rcx, %rax
        movq    %rax, %rdx
        shrq    $32, %rdx
        movl    $MSR_TSC_DEADLINE, %ecx
        wrmsr
        movl    $LAPIC_EOI, %eax
        movl    $0, (%rax)
        popq    %rdx
        popq    %rcx
        popq    %rax
        iretq

device:
        pushq   %rax
        movq    %rsp, %rax
        andq    $-4096, %rax
        movq    $1, CPU_PENDING(%rax)
        movl    $LAPIC_EOI, %eax
        movl    $0, (%rax)
        popq    %rax
        iretq

/* HLT at CPL3: sleep unless a device has something; anything else is a fault. */
protection:
        pushq   %rax
        movq    16(%rsp), %rax
        cmpb    $0xf4, (%rax)
        jne     notHalt
        movq    %rsp, %rax
        andq    $-4096, %rax
        incq    CPU_IDLES(%rax)
        cmpq    $0, CPU_PENDING(%rax)
        jne     awake
        sti
        hlt
        cli
awake:
        popq    %rax
        addq    $8, %rsp
        incq    (%rsp)
        iretq
notHalt:
        popq    %rax
        pushq   $13
        jmp     fault

        .macro plain number
exception\number:
        pushq   $0
        pushq   $\number
        jmp     fault
        .endm
        .macro coded number
exception\number:
        pushq   $\number
        jmp     fault
        .endm
        .irp n, 0,1,2,3,4,5,6,7,9,15,16,18,19,20,22,23,24,25,26,27,28,31
        plain \n
        .endr
        .irp n, 8,10,11,12,14,17,21,29,30
        coded \n
        .endr
        .set exception13, protection

fault:                                  /* vector, error code, rip, ... on the stack */
        movq    %rsp, %rax
        andq    $-4096, %rax
        movq    8(%rsp), %rcx
        movq    %rcx, CPU_FAULT_CODE(%rax)
        movq    16(%rsp), %rcx
        movq    %rcx, CPU_FAULT_RIP(%rax)
        movq    (%rsp), %rcx
        incq    %rcx
        movq    %rcx, CPU_FAULT(%rax)
        movb    $1, %al
        movw    $PORT_PANIC, %dx
        outb    %al, %dx
stop:   cli
        hlt
        jmp     stop

spurious:
        iretq

        .macro gate handler
        .word   \handler - base, SELECTOR_CODE0
        .byte   0, 0x8e
        .word   0x10                    /* the program is linked at 0x100000 and below 64 KiB long here */
        .quad   0
        .endm
        .balign 16
idt:
        .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
        gate exception\n
        .endr
        .rept VECTOR_TIMER - 32
        gate spurious
        .endr
        gate timer
        gate device
        gate device
        .rept 256 - VECTOR_BLOCK - 1
        gate spurious
        .endr
idtPointer:
        .word   idtPointer - idt - 1
        .quad   idt

        .data
        .balign 16
        .globl  gdt
gdt:
        .quad   0
        .quad   0x00af9b000000ffff      /* code, CPL0, 64 bit */
        .quad   0x00cf93000000ffff      /* data, CPL0 */
        .quad   0x00cff3000000ffff      /* data, CPL3 */
        .quad   0x00affb000000ffff      /* code, CPL3, 64 bit */
        .quad   0
        .fill   2 * CPUS_MAX, 8, 0      /* one task state segment per vCPU */
gdtEnd:
gdtPointer:
        .word   gdtEnd - gdt - 1
        .quad   gdt
        .section .note.GNU-stack, "", @progbits
